package httpbody

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/tidegate/tidegate/internal/openai"
)

const text = `{"model":"m"}`

// packed compresses text.
func packed(coding string) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	case "zstd":
		w, _ = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	}
	io.WriteString(w, text)
	w.Close()
	return b.Bytes()
}

// bomb is a frame of zstd that becomes n blocks of 128 KiB.
func bomb(n int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x38} // a window of 128 KiB
	for i := range n {
		header := uint32(128<<10)<<3 | 1<<1 // a run of one byte
		if i == n-1 {
			header |= 1
		}
		b = append(binary.LittleEndian.AppendUint32(b, header)[:len(b)+3], 'a')
	}
	return b
}

func decoded(coding string, body []byte, limit int64) (string, error) {
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	if coding != "" {
		r.Header.Set("Content-Encoding", coding)
	}
	out, release, err := Decode(r, limit)
	if err != nil {
		return "", err
	}
	defer release()
	if out.Header.Get("Content-Encoding") != "" && out != r {
		return "", errors.New("Content-Encoding is left")
	}
	plain, err := io.ReadAll(out.Body)
	return string(plain), err
}

func TestDecode(t *testing.T) {
	for name, c := range map[string]struct {
		coding string
		body   []byte
		want   string
	}{
		"none":              {"", []byte(text), text},
		"identity":          {"identity", []byte(text), text},
		"gzip":              {"gzip", packed("gzip"), text},
		"capitals":          {"GZIP", packed("gzip"), text},
		"x-gzip":            {"x-gzip", packed("gzip"), text},
		"gzip, two members": {"gzip", append(packed("gzip"), packed("gzip")...), text + text},
		"deflate":           {"deflate", packed("deflate"), text},
		"zstd":              {"zstd", packed("zstd"), text},
		"zstd, two frames":  {"zstd", append(packed("zstd"), packed("zstd")...), text + text},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := decoded(c.coding, c.body, 0); err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	short := func(coding string) []byte { b := packed(coding); return b[:len(b)-5] }
	for name, c := range map[string]struct {
		coding  string
		body    []byte
		status  int
		message string
	}{
		"br":                 {"br", nil, 415, `"br"`},
		"two codings":        {"gzip, gzip", nil, 415, Supported},
		"gzip, cut off":      {"gzip", short("gzip"), 400, "ends too early"},
		"deflate, cut off":   {"deflate", short("deflate"), 400, "ends too early"},
		"zstd, cut off":      {"zstd", short("zstd"), 400, "ends too early"},
		"gzip, empty":        {"gzip", nil, 400, "ends too early"},
		"gzip, plain":        {"gzip", []byte(text), 400, "corrupt"},
		"zstd, plain":        {"zstd", []byte(text), 400, "corrupt"},
		"deflate, more":      {"deflate", append(packed("deflate"), packed("deflate")...), 400, "decompressed as deflate"},
		"gzip, checksum":     {"gzip", append(short("gzip"), 0, 0, 0, 0, 0), 400, "corrupt"},
		"zstd, large window": {"zstd", []byte("\x28\xb5\x2f\xfd\x00\x80\x01\x00\x00"), 400, "window of more than 8 MiB"},
		"over the limit":     {"zstd", bomb(4000), 413, "limit of 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decoded(c.coding, c.body, 1<<20)
			e, ok := errors.AsType[*openai.Error](err)
			if !ok || e.Status != c.status || !strings.Contains(e.Message, c.message) {
				t.Errorf("got %d bytes and %v; want %d with %q", len(got), err, c.status, c.message)
			}
		})
	}
}

// A bomb is found long before the limit, by how much it becomes of how little, and a
// repetitive body of usual size is none.
func TestDecodeStopsBombs(t *testing.T) {
	const limit = 1 << 30
	for _, blocks := range []int{anyRatio>>17 + 2, 4000} {
		got, err := decoded("zstd", bomb(blocks), limit)
		e, ok := errors.AsType[*openai.Error](err)
		if !ok || e.Status != 413 || !strings.Contains(e.Message, "256 times") || len(got) > anyRatio+1<<20 {
			t.Errorf("%d blocks: got %d bytes and %v, want 413 within %d bytes", blocks, len(got), err, anyRatio)
		}
	}
	if got, err := decoded("zstd", bomb(anyRatio>>17+2), 0); err != nil || len(got) != anyRatio+2<<17 {
		t.Errorf("without a limit: got %d bytes and %v, want all", len(got), err)
	}
	if got, err := decoded("zstd", bomb(anyRatio>>17), limit); err != nil || len(got) != anyRatio {
		t.Errorf("got %d bytes and %v, want %d", len(got), err, anyRatio)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	line := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(line[:1<<10]) // never fails // a ratio of 60
	for range 32 << 20 / len(line) {
		_, _ = w.Write(line)                                                    // to memory
		_, _ = rand.NewChaCha8([32]byte{byte(packed.Len())}).Read(line[:1<<10]) // never fails
	}
	w.Close()
	if got, err := decoded("gzip", packed.Bytes(), limit); err != nil || len(got) != 32<<20 {
		t.Errorf("got %d bytes of %d and %v, want %d", len(got), packed.Len(), err, 32<<20)
	}
}

func FuzzDecode(f *testing.F) {
	for _, coding := range []string{"gzip", "deflate", "zstd"} {
		f.Add(coding, packed(coding))
	}
	f.Add("zstd", bomb(3))
	f.Fuzz(func(t *testing.T, coding string, body []byte) {
		const limit = 1 << 20
		got, err := decoded(coding, body, limit)
		if coding != "" && coding != "identity" && len(got) > limit {
			t.Errorf("got %d bytes, want at most %d", len(got), limit)
		}
		if _, ok := errors.AsType[*openai.Error](err); err != nil && !ok {
			t.Errorf("got %v, want an error of the API", err)
		}
	})
}
