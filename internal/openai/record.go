package openai

import "strconv"

// ResultHead has the identifying members of a line of an output or error file.
type ResultHead struct {
	CustomID string
	Status   int    // of the response, 0 when there is none
	Body     []byte // of the response, raw; nil when there is none
	Error    []byte // the member error, raw; null when there was an answer
}

// ScanResult reads a line as AppendResponseLine and AppendErrorLine write it.
// Missing members stay zero; the line is not validated.
func ScanResult(line []byte) ResultHead {
	var h ResultHead
	for m := membersOf(line); m.next(); {
		switch string(m.name()) {
		case "custom_id":
			h.CustomID = unquote(m.value)
		case "response":
			if isNull(m.value) {
				continue
			}
			for r := membersOf(m.value); r.next(); {
				switch string(r.key) {
				case "status_code":
					h.Status, _ = strconv.Atoi(string(r.value)) // 0 if it is not a number
				case "body":
					h.Body = r.value
				}
			}
		case "error":
			h.Error = m.value
		}
	}
	return h
}

// ScanCustomID reads only the beginning of such a line, which may be cut off
// behind the custom_id. "" when there is none.
func ScanCustomID(line []byte) string {
	for m := membersOf(line); m.next(); {
		if string(m.name()) == "custom_id" {
			return unquote(m.value)
		}
	}
	return ""
}
