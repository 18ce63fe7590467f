package dashboard_test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// slowUpload is an upload whose parts the test sends, under a known name.
type slowUpload struct {
	t      *testing.T
	name   string
	file   io.Writer
	end    func(error)
	form   *multipart.Writer
	answer chan *httptest.ResponseRecorder
}

func startUpload(t *testing.T, h *harness, name string) *slowUpload {
	t.Helper()
	r, form, end := slowly(t)
	r.Header.Set("Tidegate-Upload", name)
	u := &slowUpload{t: t, name: name, form: form, end: end, answer: make(chan *httptest.ResponseRecorder, 1)}
	go func() { u.answer <- h.do(r) }()
	file, err := form.CreateFormFile("file", "slow.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	u.file = file
	return u
}

func (u *slowUpload) send(lines string) {
	u.t.Helper()
	if _, err := io.WriteString(u.file, lines); err != nil {
		u.t.Fatal(err)
	}
}

// finish sends the end of the form and returns the response.
func (u *slowUpload) finish() *httptest.ResponseRecorder {
	u.t.Helper()
	if err := u.form.Close(); err != nil {
		u.t.Fatal(err)
	}
	u.end(nil)
	return <-u.answer
}

func newName(t *testing.T) string {
	t.Helper()
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// TestArriving checks that the sender of a file sees its findings while it arrives.
func TestArriving(t *testing.T) {
	h := build(t, nil)
	ask := func(name string) *httptest.ResponseRecorder {
		return h.get("/new/arriving?upload=" + name)
	}
	until := func(name, want string) *httptest.ResponseRecorder {
		t.Helper()
		for {
			if w := ask(name); w.Header().Get("Tidegate-Seen") == want {
				return w
			}
		}
	}
	one, two := startUpload(t, h, newName(t)), startUpload(t, h, newName(t))
	hostile := dashboardtest.Hostile[0]
	one.send("{\"custom_id\":\"a\"}\n" + hostile + "\n{\"custom")
	two.send(strings.Repeat("{\"custom_id\":\"a\"}\n", 1234))
	w := until(one.name, "2 requests checked so far, findings: 1")
	if body := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(body, "Line 2 has no custom_id") || strings.Contains(body, hostile) {
		t.Errorf("%d %s", w.Code, body)
	}
	if w := until(two.name, "1,234 requests checked so far"); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, unknown := range []string{"", "script", newName(t), one.name + "0"} {
		if w := ask(unknown); w.Code != http.StatusNoContent {
			t.Errorf("%q: %d", unknown, w.Code)
		}
	}
	one.send("_id\":\"b\"}\n{}\n")
	until(one.name, "4 requests checked so far, findings: 2")
	if w := one.finish(); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	two.end(io.ErrUnexpectedEOF) // the browser is gone
	<-two.answer
	for _, over := range []string{one.name, two.name} {
		if w := ask(over); w.Code != http.StatusNoContent {
			t.Errorf("after its end: %d", w.Code)
		}
	}
}

// TestArrivingIsBounded checks that the number of uploads with visible findings is bounded,
// and that further uploads are accepted.
func TestArrivingIsBounded(t *testing.T) {
	h := build(t, nil)
	var all []*slowUpload
	for range 101 {
		u := startUpload(t, h, newName(t))
		u.send("{\"custom_id\":\"a\"}\n")
		all = append(all, u)
	}
	known := func() (n int) {
		for _, u := range all {
			if h.get("/new/arriving?upload="+u.name).Code == http.StatusOK {
				n++
			}
		}
		return n
	}
	for known() != 100 { // each begins when it gets to it
	}
	for i, u := range all {
		if w := u.finish(); w.Code != http.StatusOK {
			t.Errorf("upload %d: %s", i, fmt.Sprint(w.Code))
		}
	}
	if n := known(); n != 0 {
		t.Errorf("%d are known after their end", n)
	}
}
