package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// smallDisk mounts a disk of so many MiB, as only root can.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Fatalf("mounting a small disk (are you root?): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// fill takes all the space that is left.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2] // down to the last byte
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// The reserve that uploads leave for the database is 64 MiB.
func TestUploadOnFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 100)
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1), Args: []string{"--data", disk}})
	upload := func(content []byte) *http.Response {
		t.Helper()
		var form bytes.Buffer
		fmt.Fprintf(&form, "--gate\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--gate\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n%s\r\n--gate--\r\n", content)
		request, err := g.Request(t.Context(), http.MethodPost, "/v1/files", "multipart/form-data; boundary=gate", form.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { answer.Body.Close() })
		return answer
	}
	answer := upload(make([]byte, 60<<20))
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusInsufficientStorage || answer.Header.Get("X-Should-Retry") != "false" || !strings.Contains(string(text), `"error"`) {
		t.Errorf("status %d, %v: %s", answer.StatusCode, answer.Header, text)
	}
	var left []string
	if err := filepath.WalkDir(filepath.Join(disk, "files"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(d.Name(), "lock") && d.Name() != "place" {
			left = append(left, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_, list, err := g.Call(t.Context(), http.MethodGet, "/v1/files", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var files openai.List[openai.File]
	if err := json.Unmarshal(list, &files); err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 || len(files.Data) > 0 {
		t.Errorf("left on disk: %v, in the store: %v", left, files.Data)
	}
	if small := upload(make([]byte, 1<<20)); small.StatusCode != http.StatusOK {
		t.Errorf("a small file is answered %d afterwards", small.StatusCode)
	}
}

// TestDiskFullInMidBatch checks that a batch waits while the disk is full, reports the reason,
// and continues without repeating a line.
func TestDiskFullInMidBatch(t *testing.T) {
	t.Parallel()
	const lines = 4000
	disk := smallDisk(t, 160)
	sims := tidegatetest.StartSims(t, 2, "--ttft", "20ms", "--max-num-seqs", "32")
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims, Args: []string{"--data", disk, "--max-in-flight", "40"}})
	input := tidegatetest.BatchInput(t, lines, nil)
	b := g.Submit(t, input)
	g.WaitCompleted(t, b.ID, 500, time.Minute)

	free := fill(t, disk)
	paused := func() string {
		var health struct {
			Status string
			Batch  struct{ Paused []string }
		}
		_, text, err := g.Call(t.Context(), http.MethodGet, "/health", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &health); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return health.Status + " " + strings.Join(health.Batch.Paused, "; ")
	}
	tidegatetest.Eventually(t, time.Minute, "the reason in /health", func() bool {
		return strings.Contains(paused(), "degraded") && strings.Contains(paused(), "no space left")
	})
	stalled := g.Batch(t, b.ID).RequestCounts.Completed
	if stalled >= lines {
		t.Fatalf("the batch was over before the disk was full")
	}
	if body := tidegatetest.ChatBody(t, "a live request", false); g.Chat(t.Context(), body, nil).Check(body, false) != nil {
		t.Error("live requests are not answered while the disk is full")
	}
	free()
	b = g.WaitEnd(t, b.ID, 2*time.Minute)
	g.Results(t, b, input)
	if b.Status != "completed" || b.RequestCounts.Completed != lines {
		t.Errorf("the batch ended as %s with %+v", b.Status, b.RequestCounts)
	}
	tidegatetest.Eventually(t, time.Minute, "the end of the trouble", func() bool { return paused() == "ok " })
	wantOnce(t, lines+1, sims...)
}
