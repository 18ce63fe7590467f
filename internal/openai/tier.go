package openai

import "bytes"

// TierFlex is the service tier of requests that may wait
// (https://platform.openai.com/docs/guides/flex-processing).
const TierFlex = "flex"

var wordServiceTier = []byte(`"service_tier"`)

// ServiceTier returns the member `service_tier` of a request's body, "" when there
// is none or it is no string. The last of several counts. body may be the beginning
// of a larger one, of which only that much is looked at. It does not parse a body
// without the name.
func ServiceTier(body []byte) string {
	if !bytes.Contains(body, wordServiceTier) {
		return ""
	}
	tier := ""
	for m := membersOf(body); m.next(); {
		if string(m.key) == "service_tier" {
			tier = unquote(m.value)
		}
	}
	return tier
}
