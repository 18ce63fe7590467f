package openai

// PeekModel finds the members `model` and `stream` of a request's body, whose
// other values it passes over without decoding them. It stops once it has seen
// both, so the body may be cut off after that; until then the last of several
// members of a name counts. A stream of any value but true is false: whether it
// is right is for the server to say.
//
// The error is an *Error, 400: the body is no JSON object as far as it was
// read, or has no model, or one that is no string.
func PeekModel(body []byte) (model string, stream bool, err error) {
	var rawModel, rawStream []byte
	m := membersOf(body)
	for (rawModel == nil || rawStream == nil) && m.next() {
		switch string(m.name()) {
		case "model":
			rawModel = m.value
		case "stream":
			rawStream = m.value
		}
	}
	switch m.state {
	case walkCut:
		if len(trimSpace(body)) == 0 {
			return "", false, badBody("it is empty")
		}
		return "", false, badBody("it ends early")
	case walkWrong:
		if encoding := UTF16(body); encoding != "" {
			return "", false, badBody("it is " + encoding + ", send UTF-8")
		}
		return "", false, badBody("it is not a valid JSON object")
	}
	switch {
	case rawModel == nil || isNull(rawModel) || string(rawModel) == `""`:
		return "", false, MissingParameter("model")
	case rawModel[0] != '"':
		return "", false, InvalidType("model", "a string", kindOf(rawModel))
	}
	return unquote(rawModel), string(rawStream) == "true", nil
}

func badBody(reason string) *Error {
	return InvalidRequest("", "", "We could not parse the JSON body of your request: %s.", reason)
}
