package upstreams

import "net/http"

// clientKey returns what tells the API keys of clients apart, "" for none.
func clientKey(r *http.Request) string {
	for _, name := range [...]string{"Authorization", "X-Api-Key", "Api-Key"} {
		if values := r.Header[name]; len(values) > 0 {
			return values[0]
		}
	}
	return ""
}
