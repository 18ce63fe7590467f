package batch

import "fmt"

// Memory is that for requests which are under way or read ahead, in bytes.
type Memory struct {
	Limit, Taken int64
	// Wanted is about what fills the slots that stayed free lately because no
	// more could be read; 0 when none did.
	Wanted int64
}

func (m Memory) String() string {
	return fmt.Sprintf("%s of %s are taken", size(m.Taken), size(m.Limit))
}

// Shortage says what is wrong when more is wanted, and Remedy what to do.
func (m Memory) Shortage() string { return "no more requests of batches fit into " + size(m.Limit) }

// Remedy is what to write into the configuration.
func (m Memory) Remedy() string {
	return fmt.Sprintf("About this much fills them: memory %dMiB in the batch block.", (m.Wanted+1<<20-1)>>20)
}
