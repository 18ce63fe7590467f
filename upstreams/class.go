package upstreams

// Class is what a request is counted as.
type Class uint8

// The classes of requests.
const (
	Live  Class = iota // somebody waits for the answer
	Batch              // a line of a batch: it takes what live requests leave
)

// String is the class's name in metrics and logs.
func (c Class) String() string {
	if c == Batch {
		return "batch"
	}
	return "live"
}
