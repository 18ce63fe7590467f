package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// dial opens a connection and sends the header of an upload of contentLength bytes, and the
// beginning of its body.
func (a *api) dial(contentLength int, contentType, body string) net.Conn {
	a.t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(a.t.Context(), "tcp", a.server.Listener.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, contentLength, body)
	if err != nil {
		a.t.Fatal(err)
	}
	return conn
}

func TestDisconnectInMidUpload(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	body, contentType := multipartOf(part{"purpose", "", "batch"}, part{"file", "in.jsonl", strings.Repeat(line, 20_000)})
	conn := a.dial(len(body), contentType, body[:len(body)-100])
	eventually(t, "the file has begun", func() bool { return len(a.contents()) > 0 })
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left", func() bool { return len(a.contents()) == 0 })
	a.wantStored(0, 0)
}

func TestWrongContentLength(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	body, contentType := multipartOf(part{"purpose", "", "batch"}, part{"file", "in.jsonl", line})
	for name, length := range map[string]int{"too short": len(body) - 20, "too long": len(body) + 20} {
		conn := a.dial(length, contentType, body)
		if length > len(body) { // otherwise the body has arrived, and the end of the connection would cancel the request
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		head := make([]byte, len("HTTP/1.1 200"))
		if _, err := io.ReadFull(conn, head); err != nil || string(head) != "HTTP/1.1 400" {
			t.Errorf("%s: got %q, %v", name, head, err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		a.wantStored(0, 0)
	}
}

func TestRowThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
	}{
		"unavailable": {fmt.Errorf("x: %w", batch.ErrUnavailable), 503},
		"no space":    {fmt.Errorf("x: %w", batch.ErrNoSpace), 507},
		"other":       {errors.New("x"), 500},
		"cancelled":   {context.Canceled, 503},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, upload.Limits{})
			a.store.fail["CreateFile"] = c.err
			for _, filename := range []string{"in.jsonl", "in.jsonl.gz"} {
				content := line
				if strings.HasSuffix(filename, "gz") {
					content = string(gzipped(t, line))
				}
				if r := a.form("/v1/files", part{"purpose", "", "batch"}, part{"file", filename, content}); r.StatusCode != c.status {
					t.Errorf("%s: status %d, want %d", filename, r.StatusCode, c.status)
				}
				a.wantStored(0, 0)
			}
			u := a.beginUpload("in.jsonl", len(line))
			p := a.addPart(u.ID, line)
			a.store.fail["CompleteUpload"] = c.err
			if r := a.complete(u.ID, "", p.ID); r.StatusCode != c.status {
				t.Errorf("complete: status %d, want %d", r.StatusCode, c.status)
			}
			a.wantStored(1, 0)
			clear(a.store.fail)
			decode[openai.Upload](t, a.complete(u.ID, "", p.ID))
		})
	}
}

// TestRowThatWasMadeAllTheSame loses the response of a successful commit. The content must
// stay, and the client gets the file.
func TestRowThatWasMadeAllTheSame(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	a.store.fail["CreateFile, committed"] = batch.ErrUnavailable
	f := a.upload("batch", "in.jsonl", line)
	if r := a.request("GET", "/v1/files/"+f.ID+"/content", ""); string(r.body) != line {
		t.Errorf("got %q", r.body)
	}
	a.wantStored(1, 1)
}

func TestFullDisk(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	full := local.New(local.Config{Dir: t.TempDir(), Reserve: math.MaxInt64})
	if err := full.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := full.Close(); err != nil {
			t.Error(err)
		}
	})
	a.server.Config.Handler = httpapi.New(httpapi.Config{Files: &upload.Service{Store: a.store, Files: full}, Batches: batches{store: a.store}})
	want := refused{507, "", "insufficient_storage", ""}
	r := a.form("/v1/files", part{"purpose", "", "batch"}, part{"file", "in.jsonl", line})
	want.check(t, r)
	if r.Header.Get("X-Should-Retry") != "false" {
		t.Error("clients are let to fill the disk again at once")
	}
	want.check(t, a.form("/v1/uploads/"+a.beginUpload("in.jsonl", 5).ID+"/parts", part{"data", "blob", "12345"}))
	a.wantStored(0, 0)
}

// fullFiles run out of space after a number of bytes, or at the end of a content.
type fullFiles struct {
	batch.Files
	room     int
	atCommit bool
}

type fullWriter struct {
	batch.FileWriter
	files *fullFiles
}

func (f *fullFiles) Create(ctx context.Context, key string) (batch.FileWriter, error) {
	w, err := f.Files.Create(ctx, key)
	return fullWriter{w, f}, err
}

func (w fullWriter) Write(p []byte) (int, error) {
	if w.files.room -= len(p); w.files.room < 0 {
		return 0, batch.ErrNoSpace
	}
	return w.FileWriter.Write(p)
}

func (w fullWriter) Commit(ctx context.Context) error {
	if w.files.atCommit {
		return errors.Join(batch.ErrNoSpace, w.Abort())
	}
	return w.FileWriter.Commit(ctx)
}

func TestDiskThatFillsUp(t *testing.T) {
	long := strings.Repeat(line, 10_000)
	packed := string(gzipped(t, long))
	for name, c := range map[string]struct {
		filename, content string
		room              int
		atCommit          bool
	}{
		"while it is written":      {"in.jsonl", long, len(long) / 2, false},
		"at its end":               {"in.jsonl", long, math.MaxInt, true},
		"while it is decompressed": {"in.jsonl.gz", packed, len(packed) + len(long)/2, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, upload.Limits{})
			files := &fullFiles{a.files, c.room, c.atCommit}
			a.server.Config.Handler = httpapi.New(httpapi.Config{Files: &upload.Service{Store: a.store, Files: files}, Batches: batches{store: a.store}})
			refused{507, "", "insufficient_storage", ""}.check(t, a.form("/v1/files", part{"purpose", "", "batch"}, part{"file", c.filename, c.content}))
			a.wantStored(0, 0)
		})
	}
}

// TestCancelledContext checks the response if the client's context has ended.
func TestCancelledContext(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	body, contentType := multipartOf(part{"purpose", "", "batch"}, part{"file", "in.jsonl", line})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/files", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	a.server.Config.Handler.ServeHTTP(w, r)
	if w.Code < 400 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	a.wantStored(0, 0)
}

// undeletableFiles cannot delete.
type undeletableFiles struct{ batch.Files }

func (undeletableFiles) Delete(context.Context, string) error { return errors.New("access denied") }

// TestWhatCannotBeRemovedIsLogged although the client alone is at fault.
func TestWhatCannotBeRemovedIsLogged(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	core, logged := observer.New(zap.WarnLevel)
	a.server.Config.Handler = httpapi.New(httpapi.Config{
		Files: &upload.Service{Store: a.store, Files: undeletableFiles{a.files}}, Batches: batches{store: a.store}, Log: zap.New(core),
	})
	want := refused{400, "", "", "Invalid file format for Batch API."}
	want.check(t, a.form("/v1/files", part{"purpose", "", "batch"}, part{"file", "in.jsonl", ""}))
	if logged.Len() > 0 {
		t.Errorf("a client's mistake is logged: %v", logged.All())
	}
	want.check(t, a.form("/v1/files", part{"purpose", "", "batch"}, part{"file", "in.jsonl", "text"}))
	if logged.Len() != 1 {
		t.Errorf("logged: %v", logged.All())
	}
}
