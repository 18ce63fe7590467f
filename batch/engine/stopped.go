package engine

// StoppedBatch is a batch that the gateway paused because its lines fail.
type StoppedBatch struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
	Tenant string `json:"-"`
}

// stoppedListed bounds how many of a tenant Health lists.
const stoppedListed = 20

// stopped lists such batches, those of the last refresh.
func (r *Reads) stopped() []StoppedBatch {
	var all []StoppedBatch
	listed := make(map[string]int) // by tenant
	for _, b := range r.scheduler.ActiveBatches() {
		if b.PauseReason != "" && listed[b.Tenant] < stoppedListed {
			listed[b.Tenant]++
			all = append(all, StoppedBatch{b.ID, b.PauseReason, b.Tenant})
		}
	}
	return all
}
