package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/wait"
)

// maxFindings limits the findings that a failed batch lists. One more entry counts the
// findings beyond it.
const maxFindings = 500

// scan holds the findings of one pass over an input file.
type scan struct {
	endpoint string // that all requests must have
	plan     batch.Plan
	order    []int // in which the slices are queued
	bytes    int64 // up to the end of the last line
	models   map[string]*scannedModel
	findings []openai.BatchError
	beyond   int    // findings over maxFindings
	loading  string // a model that may still be discovered, "" if there is none
	scanOptions
}

// scanOptions are the differences between scans.
type scanOptions struct {
	seen func(Seen) // if not nil, called after every line
	// late limits the wait for a model that may still be discovered. After it the rest of
	// the input is read to count the lines. Zero: the scan waits for no model.
	late time.Time
	// client is the client whose rights to use models are checked.
	client access.Identity
}

// scannedModel is a model that requests name.
type scannedModel struct {
	lines   int64
	unknown string // what is wrong with it, "" if nothing
}

// validator reads inputs: it starts batches whose input is valid.
type validator struct {
	*parts
	counted countedBatches
}

// validate takes a validating batch to InProgress or Failed.
func (v *validator) validate(ctx context.Context, c batch.BatchClaim) error {
	input, finding, err := v.inputOf(ctx, c.Batch)
	if err != nil {
		return err
	}
	if finding != nil {
		return v.store.FailBatch(ctx, c, []openai.BatchError{*finding})
	}
	if err := v.awaitCounted(c.Batch.ID); err != nil {
		return err
	}
	s, err := v.scanInput(ctx, c.Batch, input)
	if errors.Is(err, batch.ErrNotFound) {
		return v.store.FailBatch(ctx, c, []openai.BatchError{{
			Code: "invalid_request", Param: new("file_id"), Message: fmt.Sprintf("The content of file %s is gone.", input.ID),
		}})
	}
	if err != nil {
		return err
	}
	if len(s.findings) > 0 {
		return v.store.FailBatch(ctx, c, s.report())
	}
	if s.loading != "" {
		return v.countWaiting(ctx, c, s)
	}
	if limiter := v.dispatcher.Capabilities().Limits; limiter != nil {
		s.plan.Queue = limiter.Queue(limits.Client{Key: c.Batch.KeyID, Tenant: c.Batch.Tenant})
	}
	err = v.store.StartBatch(ctx, c, s.plan)
	if full, ok := errors.AsType[*batch.QueueFullError](err); ok {
		return v.store.FailBatch(ctx, c, []openai.BatchError{{Code: "token_limit_exceeded", Message: full.Error()}})
	}
	if err != nil {
		return fmt.Errorf("starting batch: %w", err)
	}
	// What the queue does not take is found in the store.
	v.noteQueue(v.queue.Push(ctx, c.Batch.ID, s.order))
	v.scheduler.Refresh()
	return nil
}

// inputOf finds the input file, or what is wrong with it.
func (v *validator) inputOf(ctx context.Context, b batch.Batch) (batch.File, *openai.BatchError, error) {
	input, err := v.store.InputFile(ctx, b.ID)
	if errors.Is(err, batch.ErrNotFound) {
		return batch.File{}, &openai.BatchError{
			Code: "invalid_request", Param: new("file_id"), Message: fmt.Sprintf("Cannot find file %s, or organization does not have access to it.", b.InputFileID),
		}, nil
	}
	if err != nil {
		return batch.File{}, nil, fmt.Errorf("finding input file: %w", err)
	}
	if input.Purpose != openai.PurposeBatch {
		return batch.File{}, &openai.BatchError{
			Code: "invalid_request", Param: new("file_id"), Message: fmt.Sprintf("File %s has the purpose '%s'; the input of a batch must have 'batch'.", input.ID, input.Purpose),
		}, nil
	}
	return input, nil, nil
}

// settleTime limits the time for which a worker waits for upstreams whose models are not
// discovered yet, before it postpones the batch.
const settleTime = 2 * time.Second

// awaitModel waits until a model is known, or surely unknown, or it is late. It
// reports whether that is still open.
func (v *validator) awaitModel(ctx context.Context, model string, late time.Time) (open bool) {
	for {
		known, discovered := v.dispatcher.Serves(model)
		if known || discovered {
			return false
		}
		if !time.Now().Before(late) || !wait.Sleep(ctx, 100*time.Millisecond) {
			return true
		}
	}
}

// scanInput reads the input once, front to back.
func (v *validator) scanInput(ctx context.Context, b batch.Batch, input batch.File) (*scan, error) {
	content, err := v.files.Read(ctx, input.Key, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("opening input file: %w", err)
	}
	defer content.Close()
	return v.scanLines(ctx, content, b.Endpoint, scanOptions{late: time.Now().Add(settleTime), client: access.Identity{Models: b.Models}})
}

// unknownModel returns the finding of a client for a model that is not served, "" for one
// that is.
func (v *validator) unknownModel(client access.Identity, model string) string {
	if known, _ := v.dispatcher.Serves(model); known {
		return ""
	}
	said := fmt.Sprintf("The model '%s' is not served here.", model)
	if closest := access.VisibleModels(client, v.dispatcher.Closest(model)); len(closest) > 0 {
		said += fmt.Sprintf(" The closest that are: %s.", strings.Join(closest, ", "))
	}
	return said
}

func (s *scan) find(line int, f openai.Finding) {
	if len(s.findings) == maxFindings {
		s.beyond++
		return
	}
	found := openai.BatchError{Code: f.Code, Message: f.Message, Line: &line}
	if f.Param != "" {
		found.Param = &f.Param
	}
	s.findings = append(s.findings, found)
}

// progress calls seen with the findings so far.
func (s *scan) progress() {
	if s.seen != nil {
		s.seen(s.found())
	}
}

func (s *scan) found() Seen {
	return Seen{Lines: int64(s.plan.Lines), Findings: slices.Clip(s.findings), Beyond: int64(s.beyond)}
}

func (s *scan) report() []openai.BatchError {
	if s.beyond == 0 {
		return s.findings
	}
	return append(s.findings, openai.BatchError{Code: "too_many_errors", Message: fmt.Sprintf("There are %d more errors in this file.", s.beyond)})
}
