package vllmsim

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// word is the ith 64-bit word of a digest, 0 to 3.
func (d *digest) word(i int) uint64 { return binary.LittleEndian.Uint64(d[8*i:]) }

const (
	epoch          = 1_700_000_000 // created lies at most a year behind it
	fewestTokens   = 8
	mostTokens     = 64
	longestWord    = 24 // bytes of the echo in one token
	cacheBlock     = 16 // tokens, vLLM's default block size
	bytesPerToken  = 4
	completionsMax = 16 // vLLM's default max_tokens on /v1/completions
)

// answer has all parts of an answer. It is a function of the request alone, except model,
// which the server sets if the request has none.
type answer struct {
	req     *request
	seed    digest
	id      [32]byte // hex
	created int64
	model   []byte // a JSON string
	tokens  int    // per choice
	choices int
	cut     bool // max_tokens ended it
	prompt  int  // tokens
	cached  int  // of them, from the prefix cache
	pad     int  // bytes behind each token
	noUsage bool
	newer   bool // members of vLLM 0.32; set by the caller of init

	echo   []byte   // the prompt's last text, unquoted
	words  [][]byte // of it
	prefix []byte   // prefix of every event of a stream
	tmp    []byte
}

// init computes the answer of a request; a is reused.
func (a *answer) init(req *request, seed *digest, ep *endpoint, p *plan) {
	a.req, a.seed = req, *seed
	hex.Encode(a.id[:], seed[:16])
	a.created = epoch + int64(uint32(seed.word(2)))%(365*24*3600)
	a.model = req.slice(req.model)
	a.prompt = promptTokens(req.body)
	a.cached = a.prompt / 2 / cacheBlock * cacheBlock
	a.noUsage = p.noUsage
	a.prefix = a.prefix[:0]
	a.choices = 1
	a.tokens, a.cut, a.pad = 0, false, 0
	a.words = a.words[:0]
	if !ep.generates {
		return
	}
	if ep.severalChoices {
		a.choices = req.n
	}
	if ep.choicePerInput {
		a.choices *= len(req.inputs)
	}
	a.tokens = fewestTokens + int(seed[24])%(mostTokens-fewestTokens+1)
	if p.tokens > 0 {
		a.tokens = p.tokens
	}
	a.tokens = max(a.tokens, min(req.minTokens, maxTokens))
	limit := req.maxTokens
	if limit == 0 {
		limit = ep.defaultMaxTokens
	}
	if limit > 0 && (a.tokens > limit || req.ignoreEOS) {
		a.tokens, a.cut = min(limit, maxTokens), true
	}
	a.pad = (p.pad + a.tokens - 1) / a.tokens
	a.splitEcho()
}

// fit cuts an answer to the context length of its model.
func (a *answer) fit(most int) {
	if left := max(1, most-a.prompt); a.tokens > left {
		a.tokens, a.cut = left, true
	}
}

// promptTokens is the number of tokens of a body: one per four bytes begun.
func promptTokens(body []byte) int { return (len(body) + bytesPerToken - 1) / bytesPerToken }

// splitEcho finds the words to be repeated. Markers are excluded, because an answer may
// become part of a conversation.
func (a *answer) splitEcho() {
	a.echo = a.echo[:0]
	raw := a.req.slice(a.req.text)
	if len(raw) == 0 {
		return
	}
	// The error is about half surrogate pairs, which become U+FFFD.
	a.echo, _ = jsontext.AppendUnquote(a.echo, raw)
	rest := a.echo
	for len(a.words) < a.tokens-1 {
		var w []byte
		if w, rest = nextWord(rest); len(w) == 0 {
			return
		}
		if !bytes.Contains(w, markerOpen) {
			a.words = append(a.words, w)
		}
	}
}

// nextWord cuts the next word off, at most longestWord bytes and no rune in
// half.
func nextWord(text []byte) (w, rest []byte) {
	lo := 0
	for lo < len(text) && text[lo] <= ' ' {
		lo++
	}
	hi := lo
	for hi < len(text) && text[hi] > ' ' && hi-lo < longestWord {
		hi++
	}
	for hi < len(text) && hi > lo && !utf8.RuneStart(text[hi]) {
		hi--
	}
	return text[lo:hi], text[hi:]
}

// vocabulary fills answers that are longer than their prompts.
var vocabulary = [...]string{
	"tide", "gate", "lock", "quay", "moor", "reef", "buoy", "keel",
	"sail", "mast", "helm", "deck", "pier", "dune", "wave", "ebb",
	"flow", "surf", "foam", "salt", "sand", "gull", "crab", "kelp",
	"cove", "bay", "isle", "cape", "fjord", "delta", "marsh", "creek",
}

// appendToken appends the ith token of a choice. The first one identifies the answer.
func (a *answer) appendToken(dst []byte, i, choice int) []byte {
	switch {
	case i == 0:
		dst = append(dst, "sim-"...)
		dst = append(dst, a.id[:]...)
		if choice > 0 {
			dst = append(dst, '.')
			dst = strconv.AppendInt(dst, int64(choice), 10)
		}
	case i <= len(a.words):
		dst = append(dst, ' ')
		dst = append(dst, a.words[i-1]...)
	default:
		dst = append(dst, ' ')
		dst = append(dst, vocabulary[(int(a.seed[i%len(a.seed)])+i)%len(vocabulary)]...)
	}
	for range a.pad {
		dst = append(dst, 'x')
	}
	return dst
}

// appendContent appends the whole text of a choice.
func (a *answer) appendContent(dst []byte, choice int) []byte {
	for i := range a.tokens {
		dst = a.appendToken(dst, i, choice)
	}
	return dst
}

// quoteContent appends the whole text of a choice as a JSON string.
func (a *answer) quoteContent(dst []byte, choice int) []byte {
	a.tmp = a.appendContent(a.tmp[:0], choice)
	return quote(dst, a.tmp)
}

// quoteToken appends one token as a JSON string.
func (a *answer) quoteToken(dst []byte, i, choice int) []byte {
	a.tmp = a.appendToken(a.tmp[:0], i, choice)
	return quote(dst, a.tmp)
}

func (a *answer) completion() int { return a.tokens * a.choices }

// reason returns cut if max_tokens limited the answer, otherwise whole.
func (a *answer) reason(cut, whole string) string {
	if a.cut {
		return cut
	}
	return whole
}

// appendWholeUsage is appendUsage for an answer that is not streamed, in which
// vLLM 0.32 writes what is null.
func (a *answer) appendWholeUsage(dst []byte) []byte {
	if !a.newer || a.noUsage {
		return a.appendUsage(dst)
	}
	dst = a.appendUsage(dst)
	return append(dst[:len(dst)-1], `,"completion_tokens_details":null}`...)
}

// appendUsage appends a comma and vLLM's UsageInfo, or nothing.
func (a *answer) appendUsage(dst []byte) []byte {
	if a.noUsage {
		return dst
	}
	return a.appendUsageValue(append(dst, `,"usage":`...))
}

func (a *answer) appendUsageValue(dst []byte) []byte {
	dst = append(dst, `{"prompt_tokens":`...)
	dst = appendInt(dst, a.prompt)
	dst = append(dst, `,"total_tokens":`...)
	dst = appendInt(dst, a.prompt+a.completion())
	dst = append(dst, `,"completion_tokens":`...)
	dst = appendInt(dst, a.completion())
	dst = append(dst, `,"prompt_tokens_details":{"cached_tokens":`...)
	dst = appendInt(dst, a.cached)
	return append(dst, "}}"...)
}

func appendInt(dst []byte, n int) []byte { return strconv.AppendInt(dst, int64(n), 10) }

// appendHead appends the common beginning of answers.
func (a *answer) appendHead(dst []byte, idPrefix, object string) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, idPrefix...)
	dst = append(dst, a.id[:]...)
	dst = append(dst, `","object":"`...)
	dst = append(dst, object...)
	dst = append(dst, `","created":`...)
	dst = strconv.AppendInt(dst, a.created, 10)
	dst = append(dst, `,"model":`...)
	return append(dst, a.model...)
}

// unit draws the ith number of a series from [0,1), a multiple of 2^-16, which
// is written exactly.
func (a *answer) unit(series, i int) float64 {
	x := a.seed.word(series&3) + uint64(series)*0x9e3779b97f4a7c15 + uint64(i)*0xbf58476d1ce4e5b9
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return float64((x^x>>31)>>48) / (1 << 16)
}

func appendFloat(dst []byte, f float64) []byte { return strconv.AppendFloat(dst, f, 'g', -1, 64) }
