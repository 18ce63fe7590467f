package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// client runs one session after the other, like a persistent program that uses the batch
// API: it uses another gateway if one does not respond.
type client struct {
	world  *world
	name   string
	wishes *rand.Rand // selects actions: always the same for a seed
	random *rand.Rand // selects gateways and times
}

const (
	askLimit  = 10 * time.Second // for one answer
	pollPause = 60 * time.Millisecond
)

// The servers refuse one of so many lines with this status.
const (
	refusedEvery = 13
	refusal      = http.StatusUnprocessableEntity
)

// documents is the number of different prefixes in a batch, if prompts have one.
const documents = 7

// sizes of batches, in lines.
var sizes = []int{1, 3, 64, 65, 150, 300, 700}

// run works until no more sessions are wanted, and completes the last one.
func (c *client) run() {
	for n := 0; !c.world.closing.Load(); n++ {
		s := &session{Name: fmt.Sprintf("%s-%d", c.name, n), Lines: sizes[c.wishes.IntN(len(sizes))], Refused: make(map[string]bool)}
		s.Input = tidegatetest.BatchInput(c.world.t, s.Lines, func(i int) string {
			group := fmt.Sprintf("Session %s, document %d. ", s.Name, i%documents)
			prompt := strings.Repeat(group, c.world.prefix/len(group)) + fmt.Sprintf("Session %s, line %d?", s.Name, i)
			if i%refusedEvery == refusedEvery-1 {
				s.Refused[tidegatetest.CustomID(i)] = true
				prompt += fmt.Sprintf(" [[sim:status=%d]]", refusal)
			}
			return prompt
		})
		c.work(s)
		c.world.over(s)
	}
}

// work is one session.
func (c *client) work(s *session) {
	b, ok := c.begin(s, "24h")
	if !ok {
		return
	}
	cancelAt := never
	if c.wishes.IntN(8) == 0 {
		cancelAt = c.wishes.IntN(8)
	}
	deletes := c.wishes.IntN(3) == 0
	if !c.follow(s, &b, cancelAt) || !c.fetch(s, b) {
		return
	}
	path := "/v1/batches/" + b.ID
	if deletes && c.ask(s, http.MethodDelete, path+"?input=true", "", nil, nil) {
		c.ask(s, http.MethodGet, path, "", nil, nil)
		c.ask(s, http.MethodGet, "/v1/files/"+b.InputFileID+"/content", "", nil, nil)
	}
}

// begin uploads an input and makes a batch of it.
func (c *client) begin(s *session, window string) (b openai.Batch, ok bool) {
	var file openai.File
	form, contentType := uploadForm(c.world.t, s.Input)
	if !c.ask(s, http.MethodPost, "/v1/files", contentType, form, &file) {
		return b, false
	}
	body := fmt.Appendf(nil, `{"input_file_id":%q,"endpoint":%q,"completion_window":%q,"metadata":{"session":%q}}`, file.ID, tidegatetest.ChatPath, window, s.Name)
	ok = c.ask(s, http.MethodPost, "/v1/batches", "application/json", body, &b)
	return b, ok
}

const never = -1

// follow polls a batch until it has ended, and cancels it after some polls.
func (c *client) follow(s *session, b *openai.Batch, cancelAt int) bool {
	path := "/v1/batches/" + b.ID
	deadline := time.Now().Add(*patience)
	for look := 0; rank[b.Status] != ended; look++ {
		if time.Now().After(deadline) {
			return false // the judge detects that it has not ended
		}
		<-time.After(pollPause)
		before := b.RequestCounts.Completed
		if look == cancelAt {
			var ignored openai.Batch // a refused cancel returns no batch
			c.ask(s, http.MethodPost, path+"/cancel", "", nil, &ignored)
		}
		if !c.ask(s, http.MethodGet, path, "", nil, b) {
			return false
		}
		if s.Told[len(s.Told)-1].Status == http.StatusNotFound { // another has deleted it
			return false
		}
		if b.RequestCounts.Completed > before {
			c.world.progressed.Add(1)
		}
	}
	c.world.progressed.Add(1)
	return true
}

// fetch reads the files of a batch.
func (c *client) fetch(s *session, b openai.Batch) bool {
	for _, id := range []*string{b.OutputFileID, b.ErrorFileID, &b.InputFileID} {
		if id != nil && *id != "" && !c.ask(s, http.MethodGet, "/v1/files/"+*id+"/content", "", nil, nil) {
			return false
		}
	}
	return true
}

// ask calls gateways until one answers with less than 500, records the response and decodes
// a 200 into a value. It reports whether the session can continue.
func (c *client) ask(s *session, method, path, contentType string, body []byte, into any) bool {
	return c.insist(s, method, path, func() (t told, answer []byte, err error) {
		g := c.world.gateways[c.random.IntN(len(c.world.gateways))]
		return call(g, method, path, contentType, body)
	}, into)
}

// askOf calls one gateway without a body.
func (c *client) askOf(s *session, g *tidegatetest.Gateway, method, path string) bool {
	return c.insist(s, method, path, func() (t told, answer []byte, err error) {
		return call(g, method, path, "", nil)
	}, nil)
}

func call(g *tidegatetest.Gateway, method, path, contentType string, body []byte) (t told, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	status, answer, err := g.Call(ctx, method, path, contentType, body)
	return told{At: time.Now(), Gateway: g.URL, Method: method, Path: path, Status: status}, answer, err
}

// insist calls until there is a response.
func (c *client) insist(s *session, method, path string, call func() (told, []byte, error), into any) bool {
	for deadline, tries := time.Now().Add(*patience), 1; ; tries++ {
		t, answer, err := call()
		t.Tries = tries
		if err == nil && t.Status < http.StatusInternalServerError {
			return c.note(s, t, answer, into)
		}
		if time.Now().After(deadline) {
			s.Unanswered = fmt.Sprintf("%s %s: %d %.300s %v", method, path, t.Status, answer, err)
			return false
		}
		<-time.After(between(c.random, 20*time.Millisecond, 150*time.Millisecond))
	}
}

func (c *client) note(s *session, t told, answer []byte, into any) bool {
	path, _, _ := strings.Cut(t.Path, "?")
	t.Path = path
	if strings.HasSuffix(path, "/content") && t.Status == http.StatusOK {
		t.Content = answer
	} else {
		t.Body = bytes.Clone(answer)
		if !json.Valid(answer) {
			s.Unanswered = fmt.Sprintf("%s %s with JSON: %d %.300s", t.Method, t.Path, t.Status, answer)
			t.Body = nil
			s.Told = append(s.Told, t)
			return false
		}
	}
	s.Told = append(s.Told, t)
	if into == nil || t.Status != http.StatusOK {
		return slices.Contains([]int{http.StatusOK, http.StatusNotFound, http.StatusConflict}, t.Status)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		s.Unanswered = fmt.Sprintf("%s %s as documented: %v: %.300s", t.Method, t.Path, err, answer)
		return false
	}
	return true
}

// uploadForm is the body of an upload.
func uploadForm(t interface{ Fatal(args ...any) }, content []byte) (body []byte, contentType string) {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	err := w.WriteField("purpose", openai.PurposeBatch)
	if err == nil {
		part, e := w.CreateFormFile("file", "input.jsonl")
		if err = e; err == nil {
			_, err = part.Write(content)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return form.Bytes(), w.FormDataContentType()
}
