package vllmsim

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// span is a part of a request's body; the zero span is nothing.
type span struct{ lo, hi int }

// field marks the members of a request that were there and not null.
type field uint16

const (
	hasMessages field = 1 << iota
	hasPrompt
	hasInput
	hasQuery
	hasDocuments
	hasText1
	hasText2
	hasMaxTokens
	hasTokens
)

const maxChoices = 128 // OpenAI's limit

// request has the parts of a request that, with the digest, determine the answer. It is
// parsed in one pass that checks the whole body; other members are skipped.
type request struct {
	body         []byte
	has          field
	model        span // a JSON string
	text         span // a JSON string: the last text of the prompt
	inputs       []span
	tokens       span // of /detokenize
	stream       bool
	includeUsage bool
	base64       bool
	maxTokens    int // 0: none given
	n            int
	topN         int
	dimensions   int
	priority     int
	ignoreEOS    bool
	minTokens    int
	logprobs     bool
	topLogprobs  int
	tools        span
	toolChoice   span
	call         string // name of the tool that the answer calls; "" for none
}

func (r *request) slice(s span) []byte { return r.body[s.lo:s.hi] }

// parser reads requests. It is reused.
type parser struct {
	dec *jsontext.Decoder
	buf bytes.Buffer
	req *request
}

func newParser() *parser {
	return &parser{dec: jsontext.NewDecoder(new(bytes.Buffer))}
}

// Python's json takes both; for UTF-8 itself see parse.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// parse fills req from its body. The error is a *Refusal.
func (p *parser) parse(req *request) error {
	p.req = req
	p.buf = *bytes.NewBuffer(req.body)
	p.dec.Reset(&p.buf, lenient...)
	if !utf8.Valid(req.body) {
		return invalidJSON(0, "invalid UTF-8")
	}
	err := p.object()
	if err == nil {
		if _, err = p.dec.ReadToken(); err == nil {
			return invalidJSON(p.dec.InputOffset(), "Extra data")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
	}
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal
	}
	return invalidJSON(p.dec.InputOffset(), "Expecting value")
}

func (p *parser) object() error {
	if k := p.dec.PeekKind(); k != '{' {
		if _, err := p.dec.ReadValue(); err != nil {
			return err
		}
		return badRequest("", "Request body must be a JSON object.")
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	p.req.n = 1
	maxCompletion := 0
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		if err := p.member(plainName(name), &maxCompletion); err != nil {
			return err
		}
	}
	if maxCompletion > 0 { // the newer name wins, as in vLLM
		p.req.maxTokens = maxCompletion
	}
	_, err := p.dec.ReadToken()
	return err
}

// plainName takes the quotes and escapes off a member's name.
func plainName(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') >= 0 {
		name, _ := jsontext.AppendUnquote(nil, raw) // invalid UTF-8 matches no name
		return name
	}
	return raw[1 : len(raw)-1]
}

func (p *parser) member(name []byte, maxCompletion *int) error {
	r := p.req
	switch string(name) {
	case "model":
		return p.text("model", &r.model)
	case "stream":
		return p.boolean("stream", &r.stream)
	case "stream_options":
		return p.streamOptions()
	case "max_tokens", "max_output_tokens":
		r.has |= hasMaxTokens
		return p.integer(string(name), 1, &r.maxTokens)
	case "max_completion_tokens":
		return p.integer(string(name), 1, maxCompletion)
	case "n":
		err := p.integer("n", 1, &r.n)
		if err == nil && r.n > maxChoices {
			err = badRequest("n", "n must be at most %d, got %d.", maxChoices, r.n)
		}
		return err
	case "top_n":
		return p.integer("top_n", 0, &r.topN)
	case "priority":
		return p.integer("priority", math.MinInt32, &r.priority)
	case "ignore_eos":
		return p.boolean("ignore_eos", &r.ignoreEOS)
	case "min_tokens":
		return p.integer("min_tokens", 0, &r.minTokens)
	case "logprobs":
		return p.logprobs()
	case "top_logprobs":
		return p.integer("top_logprobs", -1, &r.topLogprobs)
	case "tools":
		return p.value(&r.tools)
	case "tool_choice":
		return p.value(&r.toolChoice)
	case "dimensions":
		return p.integer("dimensions", 1, &r.dimensions)
	case "encoding_format":
		var format span
		err := p.text("encoding_format", &format)
		r.base64 = string(r.slice(format)) == `"base64"`
		return err
	case "messages":
		return p.prompt("messages", hasMessages)
	case "prompt":
		return p.prompt("prompt", hasPrompt)
	case "input":
		return p.prompt("input", hasInput)
	case "documents":
		return p.prompt("documents", hasDocuments)
	case "text_2":
		return p.prompt("text_2", hasText2)
	case "query":
		return p.side(hasQuery)
	case "text_1":
		return p.side(hasText1)
	case "tokens":
		r.has |= hasTokens
		return p.value(&r.tokens)
	}
	if limits, ok := sampling[string(name)]; ok {
		return p.sampling(string(name), limits)
	}
	return p.dec.SkipValue()
}

// value parses any value and records its position.
func (p *parser) value(s *span) error {
	v, err := p.dec.ReadValue()
	if err != nil {
		return err
	}
	s.hi = int(p.dec.InputOffset())
	s.lo = s.hi - len(v)
	return nil
}

// text reads a string; null counts as absent.
func (p *parser) text(name string, s *span) error {
	switch p.dec.PeekKind() {
	case '"':
		return p.value(s)
	case 'n':
		*s = span{}
		return p.dec.SkipValue()
	}
	return p.wrongType(invalidField("string_type", name, "Input should be a valid string"))
}

func (p *parser) boolean(name string, b *bool) error {
	switch k := p.dec.PeekKind(); k {
	case 't', 'f', 'n':
		*b = k == 't'
		return p.dec.SkipValue()
	}
	return p.wrongType(invalidField("bool_type", name, "Input should be a valid boolean"))
}

func (p *parser) integer(name string, lowest int, n *int) error {
	switch p.dec.PeekKind() {
	case 'n':
		return p.dec.SkipValue()
	case '0':
		v, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		i, err := strconv.Atoi(string(v))
		if err != nil {
			return invalidField("int_type", name, "Input should be a valid integer")
		}
		if i < lowest {
			return badRequest(name, "%s must be at least %d, got %d.", name, lowest, i)
		}
		*n = i
		return nil
	}
	return p.wrongType(invalidField("int_type", name, "Input should be a valid integer"))
}

// wrongType skips a value and then refuses it, so that a body that is not JSON
// is refused as such.
func (p *parser) wrongType(refusal *Refusal) error {
	if err := p.dec.SkipValue(); err != nil {
		return err
	}
	return refusal
}

func (p *parser) streamOptions() error {
	if p.dec.PeekKind() != '{' {
		return p.dec.SkipValue()
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	p.req.includeUsage = true // vLLM's default in the object
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		if string(plainName(name)) == "include_usage" {
			err = p.boolean("stream_options", &p.req.includeUsage)
		} else {
			err = p.dec.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

// side parses one side of a comparison. Only its presence counts.
func (p *parser) side(f field) error {
	if p.dec.PeekKind() != 'n' {
		p.req.has |= f
	}
	return p.dec.SkipValue()
}

// prompt parses the prompt: a string, token ids, or a list of strings, messages or lists of
// token ids.
func (p *parser) prompt(name string, f field) error {
	r := p.req
	switch p.dec.PeekKind() {
	case '"':
		r.has |= f
		r.inputs = append(r.inputs[:0], span{})
		s := &r.inputs[0]
		err := p.value(s)
		r.text = *s
		return err
	case '[':
		r.has |= f
		r.inputs = r.inputs[:0]
		if err := p.list(true); err != nil {
			return err
		}
		if len(r.inputs) == 0 {
			return badRequest(name, "%s must not be empty.", name)
		}
		return nil
	case 'n':
		return p.dec.SkipValue()
	}
	return p.wrongType(invalidField("list_type", name, "Input should be a valid list"))
}

// list reads an array and keeps the last text in it. The elements of the
// outermost one are the inputs; numbers together are one input.
func (p *parser) list(outermost bool) error {
	r := p.req
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	numbers := false
	for {
		var s span
		var err error
		kind := p.dec.PeekKind()
		switch kind {
		case ']':
			_, err := p.dec.ReadToken()
			return err
		case '{':
			s.lo = int(p.dec.InputOffset())
			err = p.item()
			s.hi = int(p.dec.InputOffset())
		default:
			err = p.value(&s)
		}
		if err != nil {
			return err
		}
		if kind == '"' {
			r.text = s
		}
		if outermost && (kind != '0' || !numbers) {
			r.inputs = append(r.inputs, s)
		}
		numbers = numbers || kind == '0'
	}
}

// item reads a message, or a part of one's content, for the text in it.
func (p *parser) item() error {
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		isText := string(name) == `"content"` || string(name) == `"text"`
		switch kind := p.dec.PeekKind(); {
		case isText && kind == '"':
			err = p.value(&p.req.text)
		case isText && kind == '[':
			err = p.list(false)
		default:
			err = p.dec.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}
