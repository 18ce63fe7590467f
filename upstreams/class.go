package upstreams

// Class is the traffic class of a request.
type Class uint8

// The classes of requests.
const (
	Live  Class = iota // a client waits for the answer
	Batch              // a batch line, or a flex request: it uses the capacity that live requests leave
)

// String returns the class's name in metrics and logs.
func (c Class) String() string {
	if c == Batch {
		return "batch"
	}
	return "live"
}
