package vllmsim

import (
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// inspect answers a route that reads a request without running it. Such
// requests take no slot, meet no fault and are no calls.
func (s *Server) inspect(w http.ResponseWriter, r *http.Request, answer func(dst []byte, req *request) ([]byte, error)) {
	sc := scratches.Get().(*scratch)
	defer sc.free()
	var err error
	if sc.raw, err = appendBody(append(sc.raw[:0], '\n'), r); err != nil {
		panic(http.ErrAbortHandler)
	}
	body, err := sc.out[:0], s.admit(sc, &endpoint{}, r, 0)
	if err == nil {
		body, err = answer(body, &sc.req)
	}
	if err != nil {
		refusal := refusalOf(err)
		writeBody(w, refusal.Status, headerJSON, refusal.appendBody(nil))
		return
	}
	sc.out = body
	writeBody(w, http.StatusOK, headerJSON, body)
}

// appendTokens is /tokenize: every byte of the last text is a token.
func (s *Server) appendTokens(dst []byte, req *request) ([]byte, error) {
	if req.has&(hasPrompt|hasMessages) == 0 {
		return dst, missingField("prompt")
	}
	var text []byte
	if raw := req.slice(req.text); len(raw) > 0 {
		text, _ = jsontext.AppendUnquote(nil, raw) // half surrogate pairs are U+FFFD
	}
	dst = append(dst, `{"count":`...)
	dst = appendInt(dst, len(text))
	dst = append(dst, `,"max_model_len":`...)
	length := s.cfg.MaxModelLen
	if length <= 0 {
		length = reportedModelLen
	}
	dst = appendInt(dst, length)
	dst = append(dst, `,"tokens":[`...)
	for i, c := range text {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendInt(dst, int(c))
	}
	return append(dst, `],"token_strs":null}`...), nil
}

// appendText is /detokenize, the inverse of /tokenize.
func (s *Server) appendText(dst []byte, req *request) ([]byte, error) {
	if req.has&hasTokens == 0 {
		return dst, missingField("tokens")
	}
	wrong := invalidField("list_type", "tokens", "Input should be a valid list")
	raw := req.slice(req.tokens)
	if raw[0] != '[' {
		return dst, wrong
	}
	var text []byte
	for rest := raw[1:]; ; {
		for len(rest) > 0 && (rest[0] == ',' || rest[0] <= ' ') {
			rest = rest[1:]
		}
		if rest[0] == ']' {
			break
		}
		n := 0
		for rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		id, err := strconv.ParseUint(string(rest[:n]), 10, 8)
		if err != nil {
			return dst, wrong
		}
		text = append(text, byte(id))
		rest = rest[n:]
	}
	dst = append(dst, `{"prompt":`...)
	return append(quote(dst, text), '}'), nil
}

// appendCount is /v1/messages/count_tokens.
func (s *Server) appendCount(dst []byte, req *request) ([]byte, error) {
	if req.has&hasMessages == 0 {
		return dst, missingField("messages")
	}
	dst = append(dst, `{"input_tokens":`...)
	dst = appendInt(dst, promptTokens(req.body))
	return append(dst, '}'), nil
}
