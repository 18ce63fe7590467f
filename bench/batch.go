package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"time"
)

// inputLine is a line with its number twice, the model and the prompt.
const inputLine = `{"custom_id":"line-%06d","method":"POST","url":"/v1/chat/completions","body":{"model":"%s","max_tokens":16,"messages":[{"role":"user","content":"%06d %s"}]}}` + "\n"

// lineBytes returns the length of a line with a prompt of size bytes.
func lineBytes(size int) int { return len(fmt.Sprintf(inputLine, 0, model, 0, "")) + size }

// writeInput writes n lines whose prompts are about size bytes.
func writeInput(w io.Writer, n, size int) error {
	return writeLines(w, n, size, func(int) string { return "" })
}

// writeLines writes n lines whose prompts are a mark and about size bytes.
func writeLines(w io.Writer, n, size int, mark func(i int) string) error {
	out := bufio.NewWriterSize(w, 1<<20)
	filler := strings.Repeat("tide ", size/5+1)[:size]
	for i := range n {
		if _, err := fmt.Fprintf(out, inputLine, i, model, i, mark(i)+filler); err != nil {
			return fmt.Errorf("writing input: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing input: %w", err)
	}
	return nil
}

// uploadInput streams an input of n lines to the gateway and returns the file id.
func uploadInput(ctx context.Context, gateway string, n, size int) (string, error) {
	return upload(ctx, gateway, func(to io.Writer) error { return writeInput(to, n, size) })
}

// upload streams the output of write to the gateway and returns the file id.
func upload(ctx context.Context, gateway string, write func(io.Writer) error) (string, error) {
	body, pipe := io.Pipe()
	form := multipart.NewWriter(pipe)
	go func() {
		err := form.WriteField("purpose", "batch")
		if err == nil {
			var part io.Writer
			if part, err = form.CreateFormFile("file", "bench.jsonl"); err == nil {
				err = write(part)
			}
		}
		if err == nil {
			err = form.Close()
		}
		pipe.CloseWithError(err)
	}()
	var file struct{ ID string }
	err := call(ctx, http.MethodPost, "http://"+gateway+"/v1/files", form.FormDataContentType(), body, &file)
	return file.ID, err
}

// batchState is the state of a batch at a poll.
type batchState struct {
	ID            string `json:"id"`
	Status        string `json:"status"`
	OutputFileID  string `json:"output_file_id"`
	RequestCounts struct {
		Total, Completed, Failed int64
	} `json:"request_counts"`
}

func createBatch(ctx context.Context, gateway, fileID string) (batchState, error) {
	return createUrgent(ctx, gateway, fileID, 0)
}

// createUrgent creates a batch with a priority.
func createUrgent(ctx context.Context, gateway, fileID string, priority int) (batchState, error) {
	request := fmt.Sprintf(`{"input_file_id":"%s","endpoint":"/v1/chat/completions","completion_window":"24h","priority":%d}`, fileID, priority)
	var b batchState
	err := call(ctx, http.MethodPost, "http://"+gateway+"/v1/batches", "application/json", bytes.NewReader([]byte(request)), &b)
	return b, err
}

// waitBatch polls until the batch has ended. It returns an error unless all lines have
// completed.
func waitBatch(ctx context.Context, gateway, id string, seen func(batchState)) (batchState, error) {
	for {
		var b batchState
		if err := call(ctx, http.MethodGet, "http://"+gateway+"/v1/batches/"+id, "", nil, &b); err != nil {
			return b, err
		}
		if seen != nil {
			seen(b)
		}
		switch b.Status {
		case "completed":
			if b.RequestCounts.Completed != b.RequestCounts.Total {
				return b, fmt.Errorf("batch ended with %+v", b.RequestCounts)
			}
			return b, nil
		case "failed", "expired", "cancelled":
			return b, fmt.Errorf("batch ended as %s", b.Status)
		}
		select {
		case <-ctx.Done():
			return b, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// download reads a file and counts its bytes and lines.
func download(ctx context.Context, gateway, fileID string) (size, lines int64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gateway+"/v1/files/"+fileID+"/content", nil)
	if err != nil {
		return 0, 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, 0, fmt.Errorf("downloading: %w", err)
	}
	defer answer.Body.Close()
	buf := make([]byte, 256<<10)
	for {
		n, err := answer.Body.Read(buf)
		size += int64(n)
		lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		if err == io.EOF {
			return size, lines, nil
		}
		if err != nil {
			return size, lines, fmt.Errorf("downloading: %w", err)
		}
	}
}

func call(ctx context.Context, method, url, contentType string, body io.Reader, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("calling the gateway: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("reading answer of %s: %w", url, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, url, answer.Status, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("reading answer of %s: %w", url, err)
	}
	return nil
}
