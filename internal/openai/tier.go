package openai

import "bytes"

// TierFlex is the service tier of requests that may wait
// (https://platform.openai.com/docs/guides/flex-processing).
const TierFlex = "flex"

// ServiceTier returns the member `service_tier` of a request's body: see StringMember.
func ServiceTier(body []byte) string { return StringMember(body, "service_tier") }

// StringMember returns a string member of a request's body, "" when there is none of the
// name or it is no string. The last of several counts. body may be the beginning of a
// larger one; only this part is scanned. It does not parse a body without
// the name. The name must have no characters that JSON escapes.
func StringMember(body []byte, name string) string {
	if !bytes.Contains(body, []byte(`"`+name+`"`)) {
		return ""
	}
	value := ""
	for m := membersOf(body); m.next(); {
		if string(m.key) == name {
			value = unquote(m.value)
		}
	}
	return value
}
