package openai

import (
	"encoding/json"
	"testing"
)

func TestAddMember(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{`{"model":"m"}`, `{"priority":1,"model":"m"}`},
		{" \n{ \"model\" : \"m\" }\n", " \n{\"priority\":1, \"model\" : \"m\" }\n"},
		{`{}`, `{"priority":1}`},
		{`{ }`, `{"priority":1 }`},
		{`{"a":{"priority":2},"b":"priority"}`, `{"priority":1,"a":{"priority":2},"b":"priority"}`},
		{`{"priority":0}`, ""},
		{`{"a":1,"priority":null}`, ""},
		{`{"prio\u0072ity":2}`, ""},
		{`[]`, ""},
		{`"x"`, ""},
		{``, ""},
		{`{"a":1`, ""},
		{`{"a" 1}`, ""},
	} {
		body := []byte(tt.body)
		got, ok := AddMember(body, "priority", "1")
		if string(got) != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: got %s (%t), want %s", tt.body, got, ok, tt.want)
		}
		if ok && !json.Valid(got) {
			t.Errorf("%s: %s is not JSON", tt.body, got)
		}
		if string(body) != tt.body {
			t.Errorf("%s was changed to %s", tt.body, body)
		}
	}
}
