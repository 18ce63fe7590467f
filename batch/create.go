package batch

import "time"

// MinWindow and MaxWindow bound the completion window of a batch.
const (
	MinWindow = time.Minute
	MaxWindow = 30 * 24 * time.Hour
)

// CreateRequest asks for a batch
// (https://platform.openai.com/docs/api-reference/batch/create).
type CreateRequest struct {
	InputFileID      string
	Endpoint         string            // one of openai.BatchEndpoints
	CompletionWindow string            // as the client wrote it
	Window           time.Duration     // MinWindow to MaxWindow
	Metadata         map[string]string // nil when there is none
	OutputTTL        time.Duration     // 0: the default
	Priority         int               // MinPriority to MaxPriority; an addition

	// IdempotencyKey is the value of the header, "" for none.
	IdempotencyKey string
	// RequestHash is equal for bodies with the same meaning.
	RequestHash string

	// Quota limits what is stored. There must be space for results.
	Quota Quota
}
