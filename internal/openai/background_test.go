package openai

import (
	"errors"
	"net/http"
	"testing"
)

func TestCheckBackground(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		code string // of the error, "" for none
	}{
		"absent":        {`{"model":"m","input":"x"}`, ""},
		"false":         {`{"background":false,"model":"m"}`, ""},
		"null":          {`{"background":null,"model":"m"}`, ""},
		"true":          {`{"model":"m","stream":true,"input":"x","background":true}`, "unsupported_parameter"},
		"true first":    {`{"background" : true,"model":"m"}`, "unsupported_parameter"},
		"escaped":       {`{"b\u0061ckground":true}`, "unsupported_parameter"},
		"the last":      {`{"background":false,"background":true}`, "unsupported_parameter"},
		"not the first": {`{"background":true,"background":false}`, ""},
		"nested":        {`{"metadata":{"background":true},"input":["background",true]}`, ""},
		"a number":      {`{"background":1}`, "invalid_type"},
		"a string":      {`{"background":"true"}`, "invalid_type"},
		"cut off":       {`{"background":true,"input":"xxx`, "unsupported_parameter"},
		"no JSON":       {`background=true`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckBackground([]byte(c.body))
			if c.code == "" {
				if err != nil {
					t.Fatalf("got %v, want no error", err)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Status != http.StatusBadRequest || e.Param != "background" || e.Code != c.code {
				t.Fatalf("got %+v, want 400 %s about background", e, c.code)
			}
		})
	}
}

func TestParseRequestRefusesBackground(t *testing.T) {
	line := func(value, url string) []byte {
		return []byte(`{"custom_id":"a","method":"POST","url":"` + url + `","body":{"model":"m","input":"x","background":` + value + `}}`)
	}
	for name, c := range map[string]struct {
		value, url string
		want       int
	}{
		"true":             {"true", "/v1/responses", 1},
		"a number":         {"1", "/v1/responses", 1},
		"false":            {"false", "/v1/responses", 0},
		"null":             {"null", "/v1/responses", 0},
		"another endpoint": {"true", "/v1/embeddings", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, findings := ParseRequest(line(c.value, c.url), c.url)
			if len(findings) != c.want {
				t.Fatalf("got %+v, want %d findings", findings, c.want)
			}
			if c.want == 1 && (findings[0].Code != CodeInvalidRequest || findings[0].Param != "body.background") {
				t.Errorf("got %+v, want %s about body.background", findings[0], CodeInvalidRequest)
			}
		})
	}
}
