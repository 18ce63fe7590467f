package upstreams

import "net/http"

// clientKey returns what tells the API keys of clients apart, "" for none. The
// name that comes with a key as password is the client's choice and no part of it.
func clientKey(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok && password != "" {
		return password
	}
	for _, name := range [...]string{"Authorization", "X-Api-Key", "Api-Key"} {
		if values := r.Header[name]; len(values) > 0 {
			return values[0]
		}
	}
	return ""
}
