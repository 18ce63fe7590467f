package vllmsim

import (
	"errors"
	"fmt"
)

// Expected is ExpectedOf a server of DefaultVersion.
func Expected(path string, body []byte) ([]byte, error) {
	return ExpectedOf(DefaultVersion, path, body)
}

// ExpectedOf returns the body of a server's response to POST path, by version: not streamed,
// even for a request that streams. It applies the markers that shape an answer (tokens,
// pretty, huge, no-usage) and ignores faults and markers with times=N: it is the answer
// after these.
//
// The error is a *Refusal for a request that vLLM refuses. It is another one
// for a path that runs no model and for a body that names no model, whose
// answer depends on the server. So does cached_tokens of a server with an engine.
func ExpectedOf(version, path string, body []byte) ([]byte, error) {
	sc, ep, p, err := expect(path, body)
	if err != nil {
		return nil, err
	}
	sc.answer.newer = Config{Version: version}.newer()
	if len(sc.answer.model) == 0 && !ep.opaque {
		return nil, errors.New("the body names no model")
	}
	answer := ep.body(nil, &sc.answer)
	if p.pretty {
		answer = indented(answer)
	}
	return answer, nil
}

// ExpectedContent is the text of the first choice of an answer: the whole
// content, and what the deltas of a stream come to. It is "" where the answer
// is no text, a call of a tool, or an error.
func ExpectedContent(path string, body []byte) string {
	sc, ep, _, err := expect(path, body)
	if err != nil || !ep.generates || sc.req.call != "" {
		return ""
	}
	return string(sc.answer.appendContent(nil, 0))
}

func expect(path string, body []byte) (*scratch, *endpoint, plan, error) {
	ep := endpoints[path]
	if ep == nil {
		return nil, nil, plan{}, fmt.Errorf("path %s runs no model", path)
	}
	sc := &scratch{parser: newParser(), raw: appendRequest(nil, path, body)}
	if err := sc.read(ep, len(path)); err != nil {
		return nil, nil, plan{}, err
	}
	seed := digestOf(sc.raw)
	p := planFor(sc.directives, 0)
	sc.answer.init(&sc.req, &seed, ep, &p)
	return sc, ep, p, nil
}
