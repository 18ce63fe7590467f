package batch

import "fmt"

// Memory is the memory for requests in flight or prefetched, in bytes.
type Memory struct {
	Limit, Taken int64
	// Wanted estimates the memory that would fill the slots that were recently idle
	// because of Limit; 0 if none were.
	Wanted int64
}

func (m Memory) String() string {
	return fmt.Sprintf("%s of %s are taken", size(m.Taken), size(m.Limit))
}

// Shortage describes the problem if Wanted is set.
func (m Memory) Shortage() string { return "no more requests of batches fit into " + size(m.Limit) }

// Remedy returns the setting that removes the shortage.
func (m Memory) Remedy() string {
	return fmt.Sprintf("About this much fills them: memory %dMiB in the batch block.", (m.Wanted+1<<20-1)>>20)
}
