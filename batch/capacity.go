package batch

// Capacity is how much batch work a gateway does at a time.
type Capacity struct {
	MaxInFlight          int // lines
	MaxConcurrentBatches int
}

// Capacity gives the settings of this gateway.
func (e *Engine) Capacity() Capacity {
	cfg := e.config()
	return Capacity{cfg.MaxInFlight, cfg.MaxConcurrentBatches}
}
