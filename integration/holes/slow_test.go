package holes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// shortTimes are global options with which slow clients are noticed soon. The defaults are a
// minute and more, beyond the deadline of connections in these tests.
const shortTimes = `servers {
	timeouts {
		read_header 500ms
		idle        500ms
		write_idle  500ms
		read_body_idle 500ms
	}
}`

// slowest is the time in which a gateway with shortTimes must have ended a slow connection.
const slowest = 30 * time.Second

// dial opens a connection to the gateway that fails after slowest.
func (w *world) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(slowest)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// closedBy returns what the gateway sent before it closed the connection. It fails if the
// gateway leaves the connection open.
func closedBy(t *testing.T, what string, conn net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(conn)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		t.Errorf("%s: the connection is still open after %s", what, slowest)
	}
	return string(text)
}

// drip sends text byte by byte until the connection ends.
func drip(conn net.Conn, text string) {
	for i := 0; ; i = (i + 1) % len(text) {
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // a slow client, not a wait for the gateway
	}
}

// Connections on which no request arrives are closed. The test fails if a server of the gateway
// has no time limit for headers or for idle connections, or if a byte now and then extends it.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	w := start(t, tidegatetest.Settings{App: keys, Global: shortTimes})
	head := "GET /v1/models HTTP/1.1\r\nHost: " + strings.TrimPrefix(w.URL, "http://") + "\r\nAuthorization: Bearer " + alice + "\r\n"
	conns := map[string][]*net.TCPConn{}
	for range 100 {
		for what, sent := range map[string]string{"nothing": "", "half of a header": head, "a request, and nothing more": head + "\r\n"} {
			conn := w.dial(t)
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			conns[what] = append(conns[what], conn)
		}
	}
	var dripping sync.WaitGroup
	for range 10 {
		conn := w.dial(t)
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		dripping.Go(func() { drip(conn, "X-Slow: yes\r\n") })
		conns["a header byte by byte"] = append(conns["a header byte by byte"], conn)
	}
	w.ask(t, "GET", "/v1/models", bob, "").want(t, "another client", http.StatusOK)
	for what, all := range conns {
		for _, conn := range all {
			got := closedBy(t, what, conn)
			if whole := strings.HasPrefix(got, "HTTP/1.1 200"); whole != (what == "a request, and nothing more") {
				t.Errorf("%s: got %.200q", what, got)
			}
		}
	}
	dripping.Wait()
}

// A body that arrives byte by byte is answered with 408 on every kind of route. The test fails
// if a route reads a body without BodyConfig.withBody.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	w := start(t, tidegatetest.Settings{App: keys + "\nbody {\nmin_rate 10KB\ngrace 500ms\n}"})
	for path, kind := range map[string]string{
		chatPath: "application/json", "/v1/batches": "application/json", "/v1/uploads": "application/json", "/v1/keys": "application/json",
		"/upstreams/drain": "application/json", "/webhooks/test": "application/json", "/v1/files": "multipart/form-data; boundary=x",
		"/dashboard/new": "application/x-www-form-urlencoded", "/dashboard/new/upload": "multipart/form-data; boundary=x",
	} {
		for framing, body := range map[string]string{"Content-Length: 1000000": " ", "Transfer-Encoding: chunked": "1\r\n \r\n"} {
			t.Run(path+" "+framing[:7], func(t *testing.T) {
				t.Parallel()
				conn := w.dial(t)
				head := "POST " + path + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(w.URL, "http://") + "\r\nAuthorization: Bearer " + admin + "\r\nContent-Type: " + kind + "\r\n"
				if _, err := io.WriteString(conn, head+framing+"\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				var slow sync.WaitGroup
				slow.Go(func() { drip(conn, body) })
				defer slow.Wait()
				defer conn.Close()
				answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				if answer.StatusCode != http.StatusRequestTimeout {
					text, _ := io.ReadAll(answer.Body) // for the message
					t.Errorf("got %d %.200s, want 408", answer.StatusCode, text)
				}
			})
		}
	}
}

// A body that no handler reads does not delay the answer and the end of its connection for long.
// net/http reads 256 KiB of such a body before it sends an answer, without a time limit if the
// answer is sent while its handler runs because it is longer than 2 KiB. The test fails if Floor
// leaves a body without a deadline until it is read.
func TestSlowBodiesThatAreNotRead(t *testing.T) {
	t.Parallel()
	w := start(t, tidegatetest.Settings{App: keys + "\nbody {\nmin_rate 10KB\ngrace 500ms\n}", Global: shortTimes})
	for what, request := range map[string]string{
		"no key":           "POST /v1/files HTTP/1.1\r\n",
		"a missing page":   "POST /dashboard/none HTTP/1.1\r\nAuthorization: Bearer " + admin + "\r\n",
		"a missing route":  "POST /v1/" + strings.Repeat("x", 8000) + " HTTP/1.1\r\nAuthorization: Bearer " + admin + "\r\n",
		"a missing batch":  "POST /v1/batches/" + strings.Repeat("x", 8000) + "/none HTTP/1.1\r\nAuthorization: Bearer " + admin + "\r\n",
		"a missing method": "PUT /v1/keys HTTP/1.1\r\nAuthorization: Bearer " + admin + "\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			conn := w.dial(t)
			if _, err := io.WriteString(conn, request+"Host: "+strings.TrimPrefix(w.URL, "http://")+"\r\nContent-Length: 1000000\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			var slow sync.WaitGroup
			slow.Go(func() { drip(conn, " ") })
			defer slow.Wait()
			defer conn.Close()
			// The answer may be lost, as the client still sends when the connection is closed.
			if text := closedBy(t, what, conn); text != "" && !strings.HasPrefix(text, "HTTP/1.1 40") {
				t.Errorf("got %.200q, want an error", text)
			}
		})
	}
}

// A client that does not read a live stream, or reads it byte by byte, loses it, and its request
// to the server is aborted: it uses no slot. A stream that is silent for longer than that limit
// is complete, if its client reads. The test fails without a limit for writes to clients, and
// with one for whole responses.
func TestSlowReadersOfStreams(t *testing.T) {
	t.Parallel()
	aborted := make(chan string, 10)
	streams := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		event := []byte(`data: {"choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 1000) + `"}}]}` + "\n\n")
		body, _ := io.ReadAll(r.Body) // a short body leaves the kind ""
		if strings.Contains(string(body), "patient") {
			_, _ = w.Write(event) // its client reports what is missing
			_ = http.NewResponseController(w).Flush()
			for range 2 { // the others were cut, so that more than the limit has passed
				select {
				case <-aborted:
				case <-r.Context().Done():
					return
				}
			}
			_, _ = w.Write([]byte("data: [DONE]\n\n"))
			return
		}
		for {
			if _, err := w.Write(event); err != nil || r.Context().Err() != nil {
				aborted <- string(body)
				return
			}
		}
	})
	w := start(t, tidegatetest.Settings{App: keys, Global: shortTimes})
	w.server.chats(streams)

	patient := w.dial(t)
	ask := func(conn net.Conn, prompt string) {
		t.Helper()
		body := fmt.Sprintf(`{"model":"sim","stream":true,"messages":[{"role":"user","content":%q}]}`, prompt)
		request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", chatPath, strings.TrimPrefix(w.URL, "http://"), alice, len(body), body)
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
	}
	ask(patient, "patient")
	beginning := make([]byte, 1000) // of the answer: its silence has begun
	if _, err := io.ReadFull(patient, beginning); err != nil {
		t.Fatal(err)
	}
	ask(w.dial(t), "reads nothing")
	slow := w.dial(t)
	ask(slow, "reads byte by byte")
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 1)
		for ctx.Err() == nil {
			if _, err := slow.Read(b); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond) // a slow client, not a wait for the gateway
		}
	})
	if text := closedBy(t, "the silent stream", patient); !strings.Contains(text, "data: [DONE]") {
		t.Errorf("the silent stream ends with %.300q, want [DONE]", text)
	}
	cancel()
	reading.Wait()
	w.APIKey = admin
	tidegatetest.Eventually(t, slowest, "no request uses a slot", func() bool { return w.Health(t).Upstreams[0].Live == 0 })
}

// Clients that do not read the results of a batch hold nothing that others need: batches run,
// and files and batches are made and deleted meanwhile, also those that are being read. The test
// fails if a download keeps a connection to the database, a transaction or a lock.
func TestSlowReadersOfResults(t *testing.T) {
	t.Parallel()
	w := start(t, tidegatetest.Settings{App: keys, Global: "servers {\ntimeouts {\nwrite_idle -1s\n}\n}"}) // readers are never cut
	w.server.answers(0, strings.Replace(chatAnswer, `"ok"`, `"`+strings.Repeat("x", 1<<20)+`"`, 1))
	var input strings.Builder
	for i := range 20 { // more than sockets buffer
		input.WriteString(line(fmt.Sprint(i), "sim", "x"))
	}
	file := w.upload(t, alice, "a.jsonl", input.String())
	batch := w.create(t, alice, file, "{}")
	w.ended(t, alice, batch)
	output := *w.Batch(t, batch).OutputFileID
	var readers []net.Conn
	for range 10 { // 30 readers: more than there are connections to the database
		for _, path := range []string{"/v1/files/" + output + "/content", "/v1/batches/" + batch + "/output", "/dashboard/files/" + output + "/content"} {
			conn := w.dial(t)
			if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", path, strings.TrimPrefix(w.URL, "http://"), alice); err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 1000)
			if _, err := io.ReadFull(conn, first); err != nil || !strings.HasPrefix(string(first), "HTTP/1.1 200") {
				t.Fatalf("%s: %v: got %.200q", path, err, first)
			}
			readers = append(readers, conn)
		}
	}
	waited := time.AfterFunc(slowest, func() {
		t.Error("others wait for clients that do not read")
		for _, conn := range readers {
			_ = conn.Close()
		}
	})
	defer waited.Stop()
	w.server.answers(0, "")
	other := w.create(t, alice, w.upload(t, alice, "b.jsonl", line("b", "sim", "x")), "{}")
	if status := w.ended(t, alice, other); status != "completed" {
		t.Errorf("a batch meanwhile is %s", status)
	}
	for _, path := range []string{"/v1/files/" + output, "/v1/files/" + file, "/v1/batches/" + batch} {
		w.ask(t, "DELETE", path, alice, "").want(t, path, http.StatusOK)
	}
	w.ask(t, "GET", "/v1/models", bob, "").want(t, "another client", http.StatusOK)
}
