package holes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// The keys of the gateway. Those of two tenants have the scopes live and batch; limited may
// use one model.
const (
	admin   = "sk-admin-0123456789-0123456789-0123456789-0123456789"
	alice   = "sk-alice-0123456789-0123456789-0123456789-0123456789"
	bob     = "sk-bob-0123456789-0123456789-0123456789-0123456789"
	limited = "sk-limited-0123456789-0123456789-0123456789-0123456789"
)

const keys = `
	key admin {
		secret {env.HOLES_ADMIN}
		scopes admin
		tenant ops
	}
	key alice {
		secret {env.HOLES_ALICE}
		tenant team-a
	}
	key bob {
		secret {env.HOLES_BOB}
		tenant team-b
	}
	key limited {
		secret {env.HOLES_LIMITED}
		tenant team-b
		models allowed
		limits {
			requests_per_minute 3
		}
	}`

// modelServer is a model server that keeps what it receives.
type modelServer struct {
	tidegatetest.Sim // its URL alone

	mu     sync.Mutex
	got    []string // requests as method, path, headers and body
	status int      // of answers, 200 if it is 0
	answer string   // "": an answer to a chat
	chat   http.Handler
}

func startModelServer(t *testing.T) *modelServer {
	s := new(modelServer)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

const chatAnswer = `{"id":"c","object":"chat.completion","model":"sim","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`

func (s *modelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/v1/models":
		fmt.Fprint(w, `{"object":"list","data":[{"id":"sim","object":"model"},{"id":"allowed","object":"model"}]}`)
		return
	case "/health", "/metrics", "/version":
		return
	}
	s.mu.Lock()
	chat := s.chat
	s.mu.Unlock()
	if chat != nil {
		chat.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", r.Method, r.URL)
	_ = r.Header.Write(&b)
	b.Write(body)
	s.mu.Lock()
	s.got = append(s.got, b.String())
	status, answer := s.status, s.answer
	s.mu.Unlock()
	if status != 0 {
		w.WriteHeader(status)
	}
	if answer == "" {
		answer = chatAnswer
	}
	fmt.Fprint(w, answer)
}

// received returns the requests for models since the last call.
func (s *modelServer) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

func (s *modelServer) answers(status int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.answer = status, text
}

// chats makes a handler answer all requests for models.
func (s *modelServer) chats(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chat = h
}

// world is a gateway with keys of several tenants in front of one server.
type world struct {
	*tidegatetest.Gateway
	server *modelServer
}

func start(t *testing.T, s tidegatetest.Settings) *world {
	t.Helper()
	server := startModelServer(t)
	s.Sims = []*tidegatetest.Sim{&server.Sim}
	s.Env = append(s.Env, "HOLES_ADMIN="+admin, "HOLES_ALICE="+alice, "HOLES_BOB="+bob, "HOLES_LIMITED="+limited)
	return &world{tidegatetest.Run(t, s), server}
}

// startKeyed starts a gateway that requires a key.
func startKeyed(t *testing.T) *world {
	t.Helper()
	return start(t, tidegatetest.Settings{App: keys})
}

// reply is the answer to a request.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request; pairs are headers. A key of "" sends none.
func (w *world) ask(t *testing.T, method, path, key, body string, pairs ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if r.URL.Opaque = path; strings.HasPrefix(path, "//") { // as it is, without cleaning
		r.URL.Opaque, r.URL.Path = "", path
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == "Host" {
			r.Host = pairs[i+1]
			continue
		}
		if r.Header[pairs[i]] == nil || pairs[i] == "Content-Type" {
			r.Header[pairs[i]] = nil
		}
		r.Header[pairs[i]] = append(r.Header[pairs[i]], pairs[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{got.StatusCode, got.Header, string(text)}
}

// raw sends bytes on a connection of its own and returns all that comes back.
func (w *world) raw(t *testing.T, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Logf("writing: %v", err) // the gateway may have closed it
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Logf("closing: %v", err)
	}
	text, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Logf("reading: %v", err)
	}
	return string(text)
}

// upload stores a file of a key and returns its id.
func (w *world) upload(t *testing.T, key, name, content string) string {
	t.Helper()
	w.APIKey = key
	return w.Upload(t, name, []byte(content)).ID
}

// create makes a batch of a key and returns its id.
func (w *world) create(t *testing.T, key, file, metadata string) string {
	t.Helper()
	body := fmt.Sprintf(`{"input_file_id":%q,"endpoint":"/v1/chat/completions","completion_window":"24h","metadata":%s}`, file, metadata)
	return id(t, w.ask(t, "POST", "/v1/batches", key, body))
}

// ended waits for the end of a batch of a key.
func (w *world) ended(t *testing.T, key, batch string) (status string) {
	t.Helper()
	w.APIKey = key
	return w.WaitEnd(t, batch, time.Minute).Status
}

// id returns the id of an object that was made.
func id(t *testing.T, r reply) string {
	t.Helper()
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(r.body), &made); err != nil || r.status != http.StatusOK || made.ID == "" {
		t.Fatalf("got %d %s, want an object", r.status, r.body)
	}
	return made.ID
}

// want checks the status of an answer.
func (r reply) want(t *testing.T, what string, statuses ...int) {
	t.Helper()
	if !slices.Contains(statuses, r.status) {
		t.Errorf("%s: got %d %.300s, want %v", what, r.status, r.body, statuses)
	}
}

// line is a line of a batch.
func line(customID, model, content string) string {
	text := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	return fmt.Sprintf(`{"custom_id":%s,"method":"POST","url":"/v1/chat/completions","body":{"model":%s,"messages":[{"role":"user","content":%s}]}}`+"\n", text(customID), text(model), text(content))
}

// chat is the body of a chat; more are members such as `"n":1`.
func chat(more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"model":"sim","messages":[{"role":"user","content":"hello"}]` + more + `}`
}

const chatPath = "/v1/chat/completions"

// trap is a listener that must never be called.
type trap struct {
	url string
	mu  sync.Mutex
	n   int
}

func startTrap(t *testing.T) *trap {
	p := new(trap)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.n++
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *trap) check(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n != 0 {
		t.Errorf("an address of the client was called %d times", p.n)
	}
}
