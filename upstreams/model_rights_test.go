package upstreams

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/access"
)

// A client that is limited to the model small cannot have a server run another one, by a
// body that servers read in another way than the gateway.
func TestModelRightsOfBodies(t *testing.T) {
	client := access.Identity{Models: []string{"small"}}
	part := func(disposition, value string) string {
		return "--x\r\nContent-Disposition: " + disposition + "\r\n\r\n" + value + "\r\n"
	}
	small := part(`form-data; name="model"`, "small")
	for name, tt := range map[string]struct {
		body, form string
		allowed    bool
	}{
		"one name":                {`{"model":"small","messages":[]}`, "", true},
		"two names":               {`{"model":"small","stream":false,"model":"big"}`, "", false},
		"an escaped name":         {`{"model":"small","\u006dodel":"big"}`, "", false},
		"another case":            {`{"model":"small","Model":"big"}`, "", false},
		"another case, first":     {`{"MODEL":"big","model":"small"}`, "", false},
		"form, another case":      {"", small + part(`form-data; name="Model"`, "big") + "--x--\r\n", false},
		"NaN before another":      {`{"model":"small","stream":false,"x":NaN,"model":"big"}`, "", false},
		"Infinity before another": {`{"model":"small","stream":false,"x":-Infinity,"model":"big"}`, "", false},
		"nested NaN":              {`{"model":"small","stream":false,"x":[NaN],"model":"big"}`, "", false},
		"cut off":                 {`{"model":"small","stream":false,`, "", false},
		"two objects":             {`{"model":"small","stream":false}{"model":"big"}`, "", false},
		"a comment":               {`{"model":"small","stream":false,/**/"model":"big"}`, "", false},
		"form":                    {"", small + "--x--\r\n", true},
		"form with two":           {"", small + part(`form-data; name="model"`, "big") + "--x--\r\n", false},
		"form, attachment":        {"", small + part(`attachment; name="model"`, "big") + "--x--\r\n", false},
		"form, two parameters":    {"", small + part(`form-data; name="x"; name="model"`, "big") + "--x--\r\n", false},
		"form, no disposition":    {"", small + "--x\r\nX: y\r\n\r\nbig\r\n--x--\r\n", false},
		"form, cut off":           {"", small + "--x\r\nContent-Disp", false},
	} {
		rt, contentType, text := routes[endpoint], "application/json", tt.body
		if tt.form != "" {
			rt, contentType, text = routes["/v1/audio/transcriptions"], "multipart/form-data; boundary=x", tt.form
		}
		body := &payload{head: []byte(text), length: int64(len(text))}
		if err := checkModel(client, rt, body, contentType, "small"); (err == nil) != tt.allowed {
			t.Errorf("%s: got %v, allowed %v", name, err, tt.allowed)
		}
		if err := checkModel(access.Identity{}, rt, body, contentType, "small"); err != nil {
			t.Errorf("%s: got %v for a client without limits", name, err)
		}
	}
	long := &payload{head: []byte(`{"model":"small"`), rest: &clientBody{Reader: strings.NewReader("}")}, length: -1}
	if err := checkModel(client, routes[endpoint], long, "application/json", "small"); err == nil {
		t.Error("a body that is not held as a whole was allowed")
	}
}
