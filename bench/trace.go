package main

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// traceRequest is a request of a trace.
type traceRequest struct {
	at       time.Duration // from the first request of the trace
	prompt   int           // tokens
	generate int           // tokens
	blocks   []int         // of the prompt; requests whose first blocks are equal share a prefix
}

// traceBlock is the tokens of a block of a trace.
const traceBlock = 512

// body is the request, streamed. The name makes it unique if the trace has no
// blocks.
func (r traceRequest) body(name string) []byte {
	if len(r.blocks) == 0 {
		return prose(name, r.prompt, r.generate, true)
	}
	head := fmt.Sprintf(`{"model":"%s","stream":true,"max_tokens":%d,"messages":[{"role":"user","content":"`, model, r.generate)
	tail := fmt.Sprintf(` [[sim:tokens=%d]]"}]}`, r.generate)
	size := tokenBytes * r.prompt
	body := make([]byte, 0, size+tokenBytes*traceBlock)
	body = append(body, head...)
	for _, id := range r.blocks {
		const word = 8                                           // bytes
		text := fmt.Sprintf("%0*x", word, uint32(id)*2654435761) // differs early between ids in sequence
		body = append(body, strings.Repeat(text, tokenBytes*traceBlock/word)...)
	}
	end := max(len(head), min(size-len(tail), len(body)))
	return append(body[:end], tail...)
}

// readTrace reads the first n requests of a trace, which may be gzipped: JSON lines
// as Mooncake's (timestamp in milliseconds, input_length, output_length, hash_ids), or
// CSV as Azure's (TIMESTAMP, ContextTokens, GeneratedTokens).
func readTrace(name string, n int) ([]traceRequest, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening trace: %w", err)
	}
	defer f.Close()
	var in io.Reader = bufio.NewReader(f)
	if base, zipped := strings.CutSuffix(name, ".gz"); zipped {
		name = base
		if in, err = gzip.NewReader(in); err != nil {
			return nil, fmt.Errorf("reading trace: %w", err)
		}
	}
	var all []traceRequest
	switch path.Ext(name) {
	case ".jsonl":
		all, err = readJSONTrace(in, n)
	case ".csv":
		all, err = readCSVTrace(in, n)
	default:
		err = errors.New("its name ends in neither .jsonl nor .csv")
	}
	if err == nil && len(all) < n {
		err = fmt.Errorf("it has %d requests, want %d", len(all), n)
	}
	if err != nil {
		return nil, fmt.Errorf("reading trace %s: %w", name, err)
	}
	return all, nil
}

func readJSONTrace(in io.Reader, n int) (all []traceRequest, err error) {
	for decoder := json.NewDecoder(in); len(all) < n; {
		var r struct {
			Timestamp    float64 `json:"timestamp"`
			InputLength  int     `json:"input_length"`
			OutputLength int     `json:"output_length"`
			HashIDs      []int   `json:"hash_ids"`
		}
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		all = append(all, traceRequest{time.Duration(r.Timestamp * float64(time.Millisecond)), r.InputLength, max(1, r.OutputLength), r.HashIDs})
	}
	return fromFirst(all), nil
}

func readCSVTrace(in io.Reader, n int) (all []traceRequest, err error) {
	rows := csv.NewReader(in)
	if _, err := rows.Read(); err != nil { // names of the columns
		return nil, err
	}
	var epoch time.Time
	for len(all) < n {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(row) != 3 {
			return nil, fmt.Errorf("row %d has %d columns, want 3", len(all)+1, len(row))
		}
		at, e0 := time.Parse(time.DateTime, row[0])
		prompt, e1 := strconv.Atoi(row[1])
		generate, e2 := strconv.Atoi(row[2])
		if err := errors.Join(e0, e1, e2); err != nil {
			return nil, err
		}
		if epoch.IsZero() {
			epoch = at
		}
		all = append(all, traceRequest{at: at.Sub(epoch), prompt: prompt, generate: max(1, generate)})
	}
	return fromFirst(all), nil
}

// fromFirst counts the times from the first request on.
func fromFirst(all []traceRequest) []traceRequest {
	for i := len(all) - 1; i >= 0; i-- {
		all[i].at -= all[0].at
	}
	return all
}
