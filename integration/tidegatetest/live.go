package tidegatetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// Live is a client's record of one live request.
type Live struct {
	Status  int    // 0 without a response
	Body    []byte // of an answer that is no stream
	Content string // the concatenated deltas of a stream
	Events  int    // of a stream, before [DONE]
	Done    bool   // [DONE] was received
	Failure string // the error event of a stream, "" for none
	Resent  int    // previous attempts without any response
	Err     error  // how the connection or the reading failed
}

// Chat sends a request to the chat completions of a gateway and reads the
// answer, streamed or not. seen, if not nil, is called after every event of a
// stream.
//
// A connection can break before anything comes back through no fault of the
// gateway's handlers: a server closes an idle one just as a client uses it again
// (RFC 9112, section 9.3.1), or closes its socket with connections waiting to be
// accepted. Clients are to expect it, and OpenAI's libraries send such a request
// again up to twice. So does this one, and counts.
func (g *Gateway) Chat(ctx context.Context, body []byte, seen func(events int)) Live {
	for resent := 0; ; resent++ {
		l := g.chatOnce(ctx, body, seen)
		l.Resent = resent
		if l.Status != 0 || resent == clientRetries || ctx.Err() != nil {
			return l
		}
	}
}

// clientRetries is the default of OpenAI's libraries.
const clientRetries = 2

func (g *Gateway) chatOnce(ctx context.Context, body []byte, seen func(events int)) (l Live) {
	request, err := g.Request(ctx, http.MethodPost, ChatPath, "application/json", body)
	if err != nil {
		return Live{Err: err}
	}
	answer, err := liveClient.Do(request)
	if err != nil {
		return Live{Err: fmt.Errorf("asking the gateway: %w", err)}
	}
	defer func() { l.Err = errors.Join(l.Err, answer.Body.Close()) }()
	l.Status = answer.StatusCode
	if !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream") {
		l.Body, l.Err = io.ReadAll(answer.Body)
		return l
	}
	l.readEvents(answer.Body, seen)
	return l
}

// liveClient has room for every request that a test has in flight.
var liveClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}

// event is a part of an event of a stream.
type event struct {
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
	} `json:"choices"`
	Error json.RawMessage `json:"error"`
}

func (l *Live) readEvents(body io.Reader, seen func(events int)) {
	r := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return
		}
		if err != nil {
			l.Err = fmt.Errorf("reading the stream: %w", err)
			return
		}
		data, isData := bytes.CutPrefix(bytes.TrimSpace(line), []byte("data: "))
		switch {
		case !isData:
			continue
		case string(data) == "[DONE]":
			l.Done = true
			continue
		}
		var e event
		if err := json.Unmarshal(data, &e); err != nil {
			l.Err = fmt.Errorf("an event is no JSON: %w: %.200s", err, data)
			return
		}
		if e.Error != nil {
			l.Failure = string(e.Error)
		}
		for _, choice := range e.Choices {
			l.Content += choice.Delta.Content
		}
		l.Events++
		if seen != nil {
			seen(l.Events)
		}
	}
}

// Check returns an error unless the response to a chat completion is the complete answer of
// the simulated server.
func (l Live) Check(body []byte, stream bool) error {
	switch {
	case l.Err != nil:
		return fmt.Errorf("status %d, %d events, failed: %w (error event %q)", l.Status, l.Events, l.Err, l.Failure)
	case l.Status != http.StatusOK:
		return fmt.Errorf("status %d: %.300s", l.Status, l.Body)
	case stream:
		if want := vllmsim.ExpectedContent(ChatPath, body); !l.Done || l.Failure != "" || l.Content != want {
			return fmt.Errorf("the stream came to %q, want %q; done %t, error %q", l.Content, want, l.Done, l.Failure)
		}
		return nil
	}
	want, err := vllmsim.Expected(ChatPath, body)
	if err != nil {
		return fmt.Errorf("computing the answer: %w", err)
	}
	if !bytes.Equal(l.Body, want) {
		return fmt.Errorf("the answer is\n     %.300s\nwant %.300s", l.Body, want)
	}
	return nil
}

// CheckCut checks a stream whose server died in its middle: it must have a correct beginning
// of the answer, then an error event, and then end without [DONE] by a broken connection.
func (l Live) CheckCut(body []byte) error {
	want := vllmsim.ExpectedContent(ChatPath, body)
	switch {
	case l.Status != http.StatusOK:
		return fmt.Errorf("status %d: %.300s (%w)", l.Status, l.Body, l.Err)
	case len(l.Content) >= len(want) || want[:len(l.Content)] != l.Content:
		return fmt.Errorf("the stream came to %q, want a true beginning of %q", l.Content, want)
	case l.Done:
		return errors.New("a stream that was cut ends with [DONE]")
	case l.Failure == "":
		return fmt.Errorf("a stream that was cut ends without an error event: %w", l.Err)
	case l.Err == nil:
		return fmt.Errorf("a cut stream ends without an error after its error event %s", l.Failure)
	}
	return nil
}
