package vllmsim

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// kind is the kind of a directive.
type kind string

const (
	// These end the request in their own way.
	kindStatus    kind = "status"
	kindHang      kind = "hang"
	kindHangMid   kind = "hang-mid"
	kindCut       kind = "cut"
	kindCutMid    kind = "cut-mid"
	kindExit      kind = "exit"
	kindHTML      kind = "html"
	kindTruncated kind = "truncated"
	kindShort     kind = "short"
	kindRedirect  kind = "redirect"
	kindDie       kind = "die"
	kindFreeze    kind = "freeze"
	// These shape an answer that is right.
	kindPretty  kind = "pretty"
	kindHuge    kind = "huge"
	kindNoUsage kind = "no-usage"
	kindSlow    kind = "slow"
	kindGap     kind = "gap"
	kindTokens  kind = "tokens"
)

// Limits and defaults of arguments.
const (
	maxTokens     = 1_000_000
	maxHuge       = 1 << 30
	defaultHuge   = 1 << 20
	defaultPause  = time.Second
	defaultDying  = 3 * time.Second       // from the engine's death to the exit
	defaultTarget = "http://127.0.0.1:1/" // no server listens there
)

// directive is a parsed marker or fault.
type directive struct {
	kind       kind
	n          int           // status, bytes or tokens
	pause      time.Duration // slow, gap, die; freeze, 0 for ever
	target     string        // redirect
	retryAfter int           // seconds, -1 for no header
	times      int64         // only the first receptions; 0 for all
}

var (
	markerOpen  = []byte("[[sim:")
	markerClose = []byte("]]")
)

// appendDirectives appends those of all markers in the body of a request. A
// marker is always inside a JSON string: "[[s" is no JSON otherwise.
func appendDirectives(dst []directive, body []byte) ([]directive, error) {
	for {
		at := bytes.Index(body, markerOpen)
		if at < 0 {
			return dst, nil
		}
		body = body[at+len(markerOpen):]
		end := bytes.Index(body, markerClose)
		if end < 0 {
			return dst, errors.New("a marker [[sim: does not end")
		}
		text, err := unescape(body[:end])
		if err != nil {
			return dst, fmt.Errorf("marker [[sim:%s]]: %w", body[:end], err)
		}
		d, err := parseDirective(text)
		if err != nil {
			return dst, fmt.Errorf("marker [[sim:%s]]: %w", text, err)
		}
		dst = append(dst, d)
		body = body[end:]
	}
}

// unescape undoes JSON's escapes in a part of a string (PHP writes \/, Go
// \u0026).
func unescape(part []byte) (string, error) {
	if bytes.IndexByte(part, '\\') < 0 {
		return string(part), nil
	}
	text, err := jsontext.AppendUnquote(nil, `"`+string(part)+`"`)
	if err != nil {
		return "", fmt.Errorf("undoing escapes: %w", err)
	}
	return string(text), nil
}

// parseDirective reads KIND[=ARG][,retry-after=SECONDS][,times=N].
func parseDirective(text string) (directive, error) {
	head, options, _ := strings.Cut(text, ",")
	if code, ok := strings.CutPrefix(head, "status-"); ok {
		head = "status=" + code
	}
	name, arg, hasArg := strings.Cut(head, "=")
	d := directive{kind: kind(name), retryAfter: -1}
	if hasArg && arg == "" {
		return d, fmt.Errorf("no value after %s=", name)
	}
	if err := d.setArgument(arg); err != nil {
		return d, err
	}
	for options != "" {
		var option string
		option, options, _ = strings.Cut(options, ",")
		if err := d.setOption(option); err != nil {
			return d, err
		}
	}
	return d, nil
}

func (d *directive) setArgument(arg string) (err error) {
	switch d.kind {
	case kindStatus:
		d.n, err = number(arg, http.StatusInternalServerError, 400, 599)
	case kindHTML:
		d.n, err = number(arg, http.StatusBadGateway, 200, 599)
	case kindHuge:
		d.n, err = number(arg, defaultHuge, 1, maxHuge)
	case kindTokens:
		d.n, err = number(arg, 0, 1, maxTokens)
		if arg == "" {
			err = errors.New("want tokens=N")
		}
	case kindSlow, kindGap, kindDie, kindFreeze:
		switch d.kind {
		case kindDie:
			d.pause = defaultDying
		case kindFreeze:
			d.pause = 0
		default:
			d.pause = defaultPause
		}
		if arg != "" {
			d.pause, err = time.ParseDuration(arg)
		}
		if err == nil && d.pause < 0 {
			err = fmt.Errorf("duration %s is negative", arg)
		}
	case kindRedirect:
		d.target = defaultTarget
		if arg != "" {
			d.target = arg
		}
		_, err = url.Parse(d.target)
	case kindHang, kindHangMid, kindCut, kindCutMid, kindExit, kindTruncated, kindShort, kindPretty, kindNoUsage:
		if arg != "" {
			err = fmt.Errorf("%s takes no argument", d.kind)
		}
	default:
		err = fmt.Errorf("unknown kind %q", d.kind)
	}
	return err
}

func (d *directive) setOption(option string) (err error) {
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "times":
		var n int
		n, err = number(value, 0, 1, 1<<30)
		d.times = int64(n)
		if value == "" {
			err = errors.New("want times=N")
		}
	case "retry-after":
		if d.kind != kindStatus {
			return fmt.Errorf("%s takes no retry-after", d.kind)
		}
		d.retryAfter, err = number(value, 1, 0, 86400)
	default:
		err = fmt.Errorf("unknown option %q", option)
	}
	return err
}

// number reads an integer, or takes def for the empty string.
func number(s string, def, lowest, highest int) (int, error) {
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lowest || n > highest {
		return 0, fmt.Errorf("%q is no whole number from %d to %d", s, lowest, highest)
	}
	return n, nil
}

// plan is the combined effect of the directives of a request.
type plan struct {
	fault   directive // kind "" for none
	slow    time.Duration
	isSlow  bool
	gap     time.Duration
	tokens  int // 0: from the digest
	pad     int // bytes
	noUsage bool
	pretty  bool
}

// add applies a directive; of several faults the first one counts.
func (p *plan) add(d *directive) {
	switch d.kind {
	case kindPretty:
		p.pretty = true
	case kindHuge:
		p.pad = d.n
	case kindNoUsage:
		p.noUsage = true
	case kindSlow:
		p.slow, p.isSlow = d.pause, true
	case kindGap:
		p.gap = d.pause
	case kindTokens:
		p.tokens = d.n
	default:
		if p.fault.kind == "" {
			p.fault = *d
		}
	}
}

// planFor is the plan of the nth reception; nth 0 is after all those that
// times= names.
func planFor(directives []directive, nth int64) plan {
	var p plan
	for i := range directives {
		d := &directives[i]
		if d.times > 0 && (nth == 0 || nth > d.times) {
			continue
		}
		p.add(d)
	}
	return p
}
