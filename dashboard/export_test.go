package dashboard

import "time"

// SetPatience changes how long a viewer may take to accept what is sent, before
// there is a reader.
func (d *Dashboard) SetPatience(p time.Duration) { d.patience = p }
