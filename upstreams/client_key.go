package upstreams

import "net/http"

// clientKey returns the API key of the client, "" for none. With basic authentication
// the password is the key; the user name is chosen by the client and ignored.
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
