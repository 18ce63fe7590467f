package openai

// CheckBackground refuses the body of a request to /v1/responses whose member
// `background` is anything but false or null: no route of the gateway reads the
// response later. body may be the beginning of a larger one; what is no JSON is
// left to PeekModel. The error is a 400.
func CheckBackground(body []byte) error {
	var raw []byte
	for m := membersOf(body); m.next(); {
		if string(m.name()) == "background" {
			raw = m.value
		}
	}
	if err := refuseBackground("background", raw); err != nil {
		return err
	}
	return nil
}

// refuseBackground checks the value of the parameter param, nil for none. vLLM
// takes 1 and "true" for true.
func refuseBackground(param string, raw []byte) *Error {
	switch {
	case raw == nil || isNull(raw) || raw[0] == 'f':
		return nil
	case raw[0] == 't':
		return InvalidRequest(param, "unsupported_parameter",
			"Unsupported parameter: '%s'. Background responses are not supported: send the request without it, or as a line of a batch without it.", param)
	default:
		return InvalidType(param, "a boolean", kindOf(raw))
	}
}
