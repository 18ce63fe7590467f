package vllmsim_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// seen is a faulty answer as received by a client.
type seen struct {
	resp *http.Response // nil: no header was received
	text string
	err  error
}

func (o seen) String() string {
	status := "no answer"
	if o.resp != nil {
		status = o.resp.Status
	}
	return fmt.Sprintf("%s, %d bytes, error %v: %.100s", status, len(o.text), o.err, o.text)
}

func isStatus(status int, header, value string) func(seen, string) bool {
	return func(o seen, _ string) bool {
		return o.err == nil && o.resp.StatusCode == status && o.resp.Header.Get(header) == value &&
			strings.HasPrefix(o.text, `{"error":{"message":"`) && strings.HasSuffix(o.text, fmt.Sprintf(`,"param":null,"code":%d}}`, status))
	}
}

func isHTML(status int) func(seen, string) bool {
	return func(o seen, _ string) bool {
		return o.err == nil && o.resp.StatusCode == status && strings.HasPrefix(o.resp.Header.Get("Content-Type"), "text/html") && strings.HasPrefix(o.text, "<html>")
	}
}

func isCut(o seen, _ string) bool { return o.resp == nil && errors.Is(o.err, io.EOF) }

// isPart is an answer that ends too early and shows it.
func isPart(o seen, whole string) bool {
	return o.resp != nil && o.resp.StatusCode == 200 && errors.Is(o.err, io.ErrUnexpectedEOF) &&
		o.text != "" && len(o.text) < len(whole) && strings.HasPrefix(whole, o.text)
}

// isTruncated is an answer that ends too early and does not show it.
func isTruncated(o seen, whole string) bool {
	return o.err == nil && o.resp.StatusCode == 200 && o.text != "" && len(o.text) < len(whole) && strings.HasPrefix(whole, o.text)
}

func isShort(o seen, whole string) bool {
	return o.resp != nil && o.resp.ContentLength > int64(len(whole)) && errors.Is(o.err, io.ErrUnexpectedEOF) && o.text == whole
}

func TestFaults(t *testing.T) {
	for marker, want := range map[string]func(got seen, whole string) bool{
		"status":                   isStatus(500, "Retry-After", ""),
		"status=400":               isStatus(400, "Retry-After", ""),
		"status=429":               isStatus(429, "Retry-After", ""),
		"status=429,retry-after=1": isStatus(429, "Retry-After", "1"),
		"status-503,retry-after=7": isStatus(503, "Retry-After", "7"),
		"html":                     isHTML(502),
		"html=200":                 isHTML(200),
		"cut":                      isCut,
		"cut-mid":                  isPart,
		"exit":                     isCut,
		"truncated":                isTruncated,
		"short":                    isShort,
		"redirect=http://127.0.0.1:1/x?a=b&c": func(o seen, _ string) bool {
			return o.err == nil && o.resp.StatusCode == 302 && o.resp.Header.Get("Location") == "http://127.0.0.1:1/x?a=b&c"
		},
		`redirect=\/there\u003f`: func(o seen, _ string) bool {
			return o.err == nil && o.resp.Header.Get("Location") == "/there?"
		},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stream=%t", marker, stream), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					exits := 0
					s := vllmsim.New(vllmsim.Config{Exit: func(code int) { exits += code }})
					client := serve(t, s)
					body := chatWith("sim-id:it [[sim:" + marker + ",times=2]]")
					if stream {
						body = streamed(body)
					}
					var got [3]seen
					for i := range got {
						got[i].resp, got[i].text, got[i].err = exchange(t.Context(), client, chatPath, body)
					}
					whole := got[2]
					if whole.err != nil || whole.resp.StatusCode != http.StatusOK || !stream && whole.text != mustExpect(t, body) ||
						stream && !strings.HasSuffix(whole.text, "data: [DONE]\n\n") {
						t.Fatalf("the third answer is not whole: %s", whole)
					}
					for i := range 2 {
						if !want(got[i], whole.text) {
							t.Errorf("answer %d: %s", i, got[i])
						}
					}
					if want := strings.Count(marker, "exit") * 2; exits != want {
						t.Errorf("exited %d times, want %d", exits, want)
					}
					synctest.Wait()
					if got := s.Stats(); got.Faulted != 2 || got.Finished != 1 || got.Aborted+got.Rejected+got.Running != 0 || got.Calls != 3 || got.Repeated != 2 {
						t.Errorf("stats %+v", got)
					}
					if got := s.Calls("it"); got != (vllmsim.Calls{Received: 3, Finished: 1}) {
						t.Errorf("calls %+v", got)
					}
				})
			})
		}
	}
}

func mustExpect(t *testing.T, body string) string {
	t.Helper()
	want, err := vllmsim.Expected(chatPath, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return string(want)
}

// A stream that is truncated ends in the middle of an event.
func TestTruncatedStream(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	text := post(t, s, chatPath, streamed(chatWith("[[sim:truncated]]"))).Body.String()
	if text == "" || strings.HasSuffix(text, "\n\n") || strings.Contains(text, "[DONE]") {
		t.Errorf("stream is %q", text)
	}
}

func TestFirstFaultCounts(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	body := chatWith("[[sim:status=503,times=1]] [[sim:status=429,times=2]] [[sim:status=400,times=2]]")
	for i, want := range []int{503, 429, 200} {
		if got := post(t, s, chatPath, body).Code; got != want {
			t.Errorf("answer %d is %d, want %d", i, got, want)
		}
	}
	s.Reset()
	if got := post(t, s, chatPath, body).Code; got != 503 {
		t.Errorf("after Reset %d", got)
	}
}

func TestMarkersNotUnderstood(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	for _, marker := range []string{
		"[[sim:", "[[sim:]]", "[[sim:Status=500]]", "[[sim:status=200]]", "[[sim:status=]]", "[[sim:status=abc]]", "[[sim:cut=1]]",
		"[[sim:hang,retry-after=1]]", "[[sim:slow=fast]]", "[[sim:slow=-1s]]", "[[sim:tokens]]", "[[sim:tokens=0]]", "[[sim:huge=-1]]",
		"[[sim:cut,times]]", "[[sim:cut,times=0]]", "[[sim:cut,often]]", "[[sim:cut]] [[sim:oops]]", "[[sim:redirect=:%zz]]",
	} {
		w := post(t, s, chatPath, chatWith(marker))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "marker") {
			t.Errorf("%s: %d %s", marker, w.Code, w.Body)
		}
	}
}

func TestParseFault(t *testing.T) {
	for spec, want := range map[string]struct {
		fault vllmsim.Fault
		rate  float64
	}{
		"status-500=0.01":              {vllmsim.FaultStatus500, 0.01},
		"status=418=0.5":               {"status=418", 0.5},
		"status-429,retry-after=1=.05": {"status-429,retry-after=1", 0.05},
		"hang=1":                       {vllmsim.FaultHang, 1},
		"cut-mid=0":                    {vllmsim.FaultCutMid, 0},
		"slow=2s=0.1":                  {"slow=2s", 0.1},
		"slow=0.1":                     {vllmsim.FaultSlow, 0.1},
		"redirect=http://x/?a=b=1e-3":  {"redirect=http://x/?a=b", 0.001},
	} {
		fault, rate, err := vllmsim.ParseFault(spec)
		if err != nil || fault != want.fault || rate != want.rate {
			t.Errorf("%s: %q, %v, %v", spec, fault, rate, err)
		}
	}
	for _, spec := range []string{"", "hang", "=0.5", "hang=", "hang=2", "hang=-0.1", "hang=NaN", "hang=x", "nonsense=0.1", "status-700=0.1", "tokens=3=0.1", "cut,times=2=0.1", "hang=5=0.1"} {
		if fault, rate, err := vllmsim.ParseFault(spec); err == nil {
			t.Errorf("%q: got %q, %v", spec, fault, rate)
		}
	}
}

func TestEveryConstantIsAFault(t *testing.T) {
	for _, f := range []vllmsim.Fault{
		vllmsim.FaultStatus400, vllmsim.FaultStatus429, vllmsim.FaultStatus500, vllmsim.FaultStatus503, vllmsim.FaultHang, vllmsim.FaultHangMid,
		vllmsim.FaultCut, vllmsim.FaultCutMid, vllmsim.FaultExit, vllmsim.FaultHTML, vllmsim.FaultTruncated, vllmsim.FaultShort, vllmsim.FaultRedirect,
		vllmsim.FaultPretty, vllmsim.FaultHuge, vllmsim.FaultNoUsage, vllmsim.FaultSlow, vllmsim.FaultGap,
	} {
		if got, _, err := vllmsim.ParseFault(string(f) + "=0.5"); err != nil || got != f {
			t.Errorf("%s: %q, %v", f, got, err)
		}
	}
}

func TestNewRefusesUnknownFaults(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New took a fault that is none")
		}
	}()
	vllmsim.New(vllmsim.Config{Faults: map[vllmsim.Fault]float64{"nonsense": 0.1}})
}

// statuses returns the statuses of 1000 requests to a server with faults in half of its
// answers.
func statuses(t *testing.T, seed uint64, offset int) map[int]int {
	t.Helper()
	s := vllmsim.New(vllmsim.Config{Seed: seed, Faults: map[vllmsim.Fault]float64{vllmsim.FaultStatus500: 0.2, vllmsim.FaultStatus429: 0.3}})
	defer s.Close()
	got := map[int]int{}
	for i := range 1000 {
		body := chatWith(fmt.Sprint((i + offset) % 1000))
		code := post(t, s, chatPath, body).Code
		got[code]++
		if code != 200 {
			got[code*1000] += (i + offset) % 1000 // which ones
		}
	}
	return got
}

func TestRates(t *testing.T) {
	a := statuses(t, 1, 0)
	for code, want := range map[int]int{200: 500, 500: 200, 429: 300} {
		if got := a[code]; got < want-60 || got > want+60 {
			t.Errorf("%d answers of 1000 are %d, want about %d", got, code, want)
		}
	}
	// The order of requests does not matter, the seed does.
	if b := statuses(t, 1, 500); fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("same seed: got %v and %v, want equal", a, b)
	}
	if c := statuses(t, 2, 0); fmt.Sprint(a) == fmt.Sprint(c) {
		t.Errorf("another seed: got the same %v, want different", a)
	}
}

// TestRetriesAreDrawnAgain checks that a retry of a faulty request draws a new fault.
func TestRetriesAreDrawnAgain(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{Faults: map[vllmsim.Fault]float64{vllmsim.FaultStatus503: 0.5}})
	defer s.Close()
	codes := map[int]bool{}
	for range 64 {
		codes[post(t, s, chatPath, chatWith("again")).Code] = true
	}
	if !codes[200] || !codes[503] {
		t.Errorf("64 receptions gave only %v", codes)
	}
}

func TestServersDiffer(t *testing.T) {
	faults := map[vllmsim.Fault]float64{vllmsim.FaultStatus503: 0.5}
	a, b := vllmsim.New(vllmsim.Config{Faults: faults}), vllmsim.New(vllmsim.Config{Faults: faults})
	defer a.Close()
	defer b.Close()
	same := 0
	for i := range 200 {
		body := chatWith(fmt.Sprint(i))
		if post(t, a, chatPath, body).Code == post(t, b, chatPath, body).Code {
			same++
		}
	}
	if same > 150 || same < 50 {
		t.Errorf("two servers agree on %d of 200 requests", same)
	}
}

// The same over TCP, where a cut is what the kernel makes of it.
func TestCutsOverTCP(t *testing.T) {
	srv := httptest.NewServer(vllmsim.New(vllmsim.Config{}))
	defer srv.Close()
	client := srv.Client()
	for marker, wantHeader := range map[string]bool{"cut": false, "cut-mid": true, "short": true} {
		resp, err := client.Post(srv.URL+chatPath, "application/json", strings.NewReader(chatWith("[[sim:"+marker+"]]")))
		if (err == nil) != wantHeader {
			t.Errorf("%s: header comes: %v", marker, err)
		}
		if err != nil {
			continue
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: body ends without an error", marker)
		}
		_ = resp.Body.Close() // it is broken on purpose
	}
}
