package vllmtest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Metrics reads the server's metrics: for each name the sum over its labels.
func (s *Server) Metrics(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading metrics of vLLM: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading metrics of vLLM: %s", answer.Status)
	}
	sums := make(map[string]float64)
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name, value, err := sample(lines.Text())
		if err != nil {
			return nil, err
		}
		sums[name] += value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading metrics of vLLM: %w", err)
	}
	return sums, nil
}

// sample reads a line of Prometheus' text format that has no time.
func sample(line string) (name string, value float64, err error) {
	end := strings.IndexAny(line, "{ ")
	last := strings.LastIndexByte(line, ' ')
	if end < 0 {
		return "", 0, fmt.Errorf("reading metrics of vLLM: no sample: %q", line)
	}
	value, err = strconv.ParseFloat(line[last+1:], 64)
	if err != nil {
		return "", 0, fmt.Errorf("reading metrics of vLLM: %w", err)
	}
	return line[:end], value, nil
}
