package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Inspection is the result of validating a file of requests now.
type Inspection struct {
	Seen
	Endpoint string           // that the first request names, or the usual one
	Bytes    int64            // of the file
	Models   map[string]int64 // requests by model, at most MaxInspectedModels
}

// MaxInspectedModels limits the models of an Inspection.
const MaxInspectedModels = 100

// Inspect validates a stored file of requests.
func (v *validator) Inspect(ctx context.Context, tenant, fileID string) (Inspection, error) {
	f, content, err := batch.OpenFile(ctx, v.store, v.files, tenant, fileID)
	if err != nil {
		return Inspection{}, err
	}
	defer content.Close()
	if f.Purpose != openai.PurposeBatch {
		return Inspection{}, &batch.PurposeError{FileID: fileID, Purpose: f.Purpose}
	}
	return v.InspectLines(ctx, content, nil)
}

// Seen holds the findings in the lines of a file that have arrived.
type Seen struct {
	Lines    int64               // requests, bad ones included
	Findings []openai.BatchError // never changed afterwards
	Beyond   int64               // findings that are not in Findings
}

// FindingsTotal returns the number of findings, listed or not.
func (s Seen) FindingsTotal() int { return len(s.Findings) + int(s.Beyond) }

// InspectLines validates requests as they arrive. It calls seen, if not nil, after every
// line with the findings so far. The error is that of reading.
func (v *validator) InspectLines(ctx context.Context, from io.Reader, seen func(Seen)) (Inspection, error) {
	s, err := v.scanLines(ctx, from, "", scanOptions{seen: seen, client: access.From(ctx)})
	if err != nil {
		return Inspection{}, err
	}
	in := Inspection{Seen: s.found(), Endpoint: s.endpoint, Bytes: s.bytes, Models: make(map[string]int64)}
	for model, m := range s.models {
		if len(in.Models) == MaxInspectedModels {
			break
		}
		in.Models[model] = m.lines
	}
	return in, nil
}

// endpointOf reads the endpoint that a line names, "" when it names none that
// batches may have.
func endpointOf(line []byte) string {
	var request struct {
		URL string `json:"url"`
	}
	if json.Unmarshal(line, &request) != nil || !slices.Contains(openai.BatchEndpoints, request.URL) {
		return "" // what is wrong with it is a finding of its own
	}
	return request.URL
}

// scanLines reads requests once, front to back. Without an endpoint, that of
// the first request is the one that all must have.
func (v *validator) scanLines(ctx context.Context, from io.Reader, endpoint string, options scanOptions) (*scan, error) {
	cfg := v.config()
	s := &scan{endpoint: endpoint, models: make(map[string]*scannedModel), scanOptions: options}
	var cut slicer
	ids := make(map[[16]byte]struct{})
	lines := openai.NewLineReader(from, cfg.MaxLineBytes)
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if tooLong, ok := errors.AsType[*openai.LineTooLongError](err); ok {
			s.plan.Lines++
			s.find(tooLong.Number, openai.Finding{Code: "invalid_request", Message: fmt.Sprintf("This line is longer than the limit of %d bytes.", tooLong.Limit)})
			s.progress()
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading input file: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.bytes = line.Offset + line.Length
		if s.plan.Lines++; s.plan.Lines > cfg.MaxRequests {
			s.find(line.Number, openai.Finding{Code: "too_many_requests", Message: fmt.Sprintf("The file has more than %d requests, the limit of a batch.", cfg.MaxRequests)})
			return s, nil
		}
		if s.endpoint == "" {
			s.endpoint = cmp.Or(endpointOf(line.Bytes), openai.BatchEndpoints[0])
		}
		request, findings := openai.ParseRequest(line.Bytes, s.endpoint)
		for _, f := range findings {
			s.find(line.Number, f)
		}
		v.scanRequest(ctx, s, line.Number, request, ids)
		answer := openai.OutputLimit(request.Body)
		s.plan.Tokens += openai.PromptTokens(int64(len(request.Body))) + int64(answer)
		cut.add(line, answer)
		s.progress()
	}
	if err := ctx.Err(); err != nil { // it may have ended a wait
		return nil, err
	}
	s.plan.Slices, s.order = cut.slices, cut.order()
	if s.plan.Lines == 0 {
		s.findings = append(s.findings, openai.BatchError{Code: "empty_file", Message: "The input file has no requests."})
	}
	if len(s.models) == 1 {
		for name := range s.models {
			s.plan.Model = name
		}
	} else {
		s.plan.Models = modelLines(s.models)
	}
	return s, nil
}

// scanRequest checks the custom id and the model of a line. ids are the hashed custom
// ids of the lines before it.
func (v *validator) scanRequest(ctx context.Context, s *scan, line int, request openai.Request, ids map[[16]byte]struct{}) {
	if request.CustomID != "" {
		key := [16]byte(batch.ShortHash(request.CustomID))
		if _, used := ids[key]; used {
			s.find(line, openai.Finding{Code: "duplicate_custom_id", Param: "custom_id", Message: "The custom_id for this request is a duplicate of another request. The custom_id must be unique in a batch."})
		}
		ids[key] = struct{}{}
	}
	if request.Model == "" {
		return
	}
	if len(s.client.Models) > 0 {
		if named, ok := openai.CountMembers(request.Body, "model"); named != 1 || !ok {
			s.find(line, openai.Finding{Code: openai.CodeInvalidRequest, Param: "body.model", Message: fmt.Sprintf("The body names its model %d times.", named)})
		}
	}
	m := s.models[request.Model]
	if m == nil {
		m = new(scannedModel)
		s.models[request.Model] = m
		if !s.client.MayUse(request.Model) { // as if it did not exist: OpenAI's answer has the same code
			m.unknown = fmt.Sprintf("The API key that made this batch does not have access to the model '%s'.", request.Model)
		} else if !s.late.IsZero() && v.awaitModel(ctx, request.Model, s.late) {
			s.loading = cmp.Or(s.loading, request.Model)
		} else {
			m.unknown = v.unknownModel(s.client, request.Model)
		}
	}
	m.lines++
	if m.unknown != "" {
		s.find(line, openai.Finding{Code: "model_not_found", Param: "body.model", Message: m.unknown})
	}
}
