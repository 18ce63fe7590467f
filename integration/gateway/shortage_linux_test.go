package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// squeeze leaves a gateway no file descriptor until the returned function is called.
func squeeze(t *testing.T, g *tidegatetest.Gateway) (release func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Prlimit(g.PID(), unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	// A descriptor is refused when its number is not below the limit.
	few := before
	few.Cur = 3
	if err := unix.Prlimit(g.PID(), unix.RLIMIT_NOFILE, &few, nil); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Prlimit(g.PID(), unix.RLIMIT_NOFILE, &before, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// An upload for which the gateway has no file descriptor is 503 with Retry-After, and
// what was accepted before is there and runs afterwards.
func TestUploadsWithoutDescriptors(t *testing.T) {
	sim := tidegatetest.StartSim(t)
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}})
	input := tidegatetest.BatchInput(t, 200, func(i int) string { return fmt.Sprintf("line %d", i) })
	kept := g.Upload(t, "kept.jsonl", input)

	body := new(bytes.Buffer)
	form := multipart.NewWriter(body)
	if err := form.WriteField("purpose", "batch"); err != nil {
		t.Fatal(err)
	}
	part, err := form.CreateFormFile("file", "in.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(input); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimPrefix(g.URL, "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	ask := func(request string) *http.Response {
		t.Helper()
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := new(bytes.Buffer).ReadFrom(answer.Body); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	upload := fmt.Sprintf("POST /v1/files HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", addr, form.FormDataContentType(), body.Len(), body)
	download := fmt.Sprintf("GET /v1/files/%s/content HTTP/1.1\r\nHost: %s\r\n\r\n", kept.ID, addr)
	if answer := ask(download); answer.StatusCode != http.StatusOK {
		t.Fatalf("download: got %s", answer.Status)
	}
	release := squeeze(t, g)
	for name, request := range map[string]string{"upload": upload, "download": download} {
		answer := ask(request)
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("%s without descriptors: got %s with Retry-After %q, want 503 with one", name, answer.Status, answer.Header.Get("Retry-After"))
		}
	}
	release()
	if _, err := os.Stat(g.Data); err != nil {
		t.Fatal(err)
	}
	g.WaitCompleted(t, g.CreateBatch(t, kept.ID).ID, 200, time.Minute)
	again := g.Upload(t, "again.jsonl", input)
	g.WaitCompleted(t, g.CreateBatch(t, again.ID).ID, 200, time.Minute)
}
