package upstreams

// eventEnd returns the length of the complete events at the beginning of b, 0 for
// none. A line ends in LF, CR or CRLF, and an event in an empty line; one stream may
// mix all of these
// (https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
//
// The first held bytes of b were searched before. sent is the last relayed byte, and
// open reports whether it is inside an event.
//
// A CR that ends an event is relayed without waiting for its LF. An LF that follows
// is relayed as soon as it arrives, so that clients that know only CRLF get the event
// immediately, too.
func eventEnd(b []byte, held int, sent byte, open bool) int {
	for end := len(b); end > held; end-- {
		if !endsLine(b[end-1]) {
			continue
		}
		at := end - 1
		before := func() byte { // the byte before at
			if at > 0 {
				return b[at-1]
			}
			return sent
		}
		if b[at] == '\n' && before() == '\r' {
			if at == 0 { // the CR was relayed
				if open {
					return 0
				}
				return end
			}
			at--
		}
		if endsLine(before()) && (at > 0 || open) {
			return end
		}
	}
	return 0
}

func endsLine(c byte) bool { return c == '\n' || c == '\r' }
