package openai

import (
	"encoding/json"

	"github.com/tidegate/tidegate/internal/saturate"
)

// Purposes of files that a client may upload, and the one of results.
const (
	PurposeBatch       = "batch"
	PurposeBatchOutput = "batch_output"
)

// UploadPurposes are the purposes that POST /v1/files and /v1/uploads accept.
var UploadPurposes = []string{"assistants", PurposeBatch, "fine-tune", "vision", "user_data", "evals"}

// BatchEndpoints are the endpoints that the lines of a batch may name:
// OpenAI's, and behind them those that vLLM adds.
var BatchEndpoints = []string{
	"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/moderations",
	"/v1/messages", "/v1/rerank", "/v1/score", "/v1/classify", "/v1/pooling",
}

// File is the File object (https://platform.openai.com/docs/api-reference/files/object).
type File struct {
	ID            string       `json:"id"`
	Object        string       `json:"object"` // "file"
	Bytes         int64        `json:"bytes"`
	CreatedAt     int64        `json:"created_at"` // unix seconds, as every time here
	ExpiresAt     *int64       `json:"expires_at"`
	Filename      string       `json:"filename"`
	Purpose       string       `json:"purpose"`
	Status        string       `json:"status"` // "processed": SDKs wait until they see it
	StatusDetails *string      `json:"status_details"`
	Compression   *Compression `json:"compression,omitempty"`
	Tenant        string       `json:"tenant,omitempty"` // an extension: the owner, for an administrator who has selected a tenant
}

// Compression describes the compression of an upload. It is an extension of BESH.
type Compression struct {
	Format           string  `json:"format"`        // gzip, zstd, bz2, zip
	OriginalSize     int64   `json:"original_size"` // bytes, as uploaded
	DecompressedSize int64   `json:"decompressed_size"`
	CompressionRatio float64 `json:"compression_ratio"` // OriginalSize / DecompressedSize, two digits
}

// Upload is the Upload object (https://platform.openai.com/docs/api-reference/uploads/object).
type Upload struct {
	ID        string `json:"id"`
	Object    string `json:"object"` // "upload"
	Bytes     int64  `json:"bytes"`
	CreatedAt int64  `json:"created_at"`
	ExpiresAt int64  `json:"expires_at"`
	Filename  string `json:"filename"`
	Purpose   string `json:"purpose"`
	Status    string `json:"status"` // pending, completed, cancelled, expired
	File      *File  `json:"file"`
}

// UploadPart is the Part object.
type UploadPart struct {
	ID        string `json:"id"`
	Object    string `json:"object"` // "upload.part"
	CreatedAt int64  `json:"created_at"`
	UploadID  string `json:"upload_id"`
}

// Batch is the Batch object (https://platform.openai.com/docs/api-reference/batch/object).
// Fields that may be null are written as null, never left out.
type Batch struct {
	ID               string            `json:"id"`
	Object           string            `json:"object"` // "batch"
	Endpoint         string            `json:"endpoint"`
	Model            *string           `json:"model"`
	Errors           *BatchErrors      `json:"errors"`
	InputFileID      string            `json:"input_file_id"`
	CompletionWindow string            `json:"completion_window"`
	Status           string            `json:"status"`
	OutputFileID     *string           `json:"output_file_id"`
	ErrorFileID      *string           `json:"error_file_id"`
	CreatedAt        int64             `json:"created_at"`
	InProgressAt     *int64            `json:"in_progress_at"`
	ExpiresAt        *int64            `json:"expires_at"`
	FinalizingAt     *int64            `json:"finalizing_at"`
	CompletedAt      *int64            `json:"completed_at"`
	FailedAt         *int64            `json:"failed_at"`
	ExpiredAt        *int64            `json:"expired_at"`
	CancellingAt     *int64            `json:"cancelling_at"`
	CancelledAt      *int64            `json:"cancelled_at"`
	RequestCounts    RequestCounts     `json:"request_counts"`
	Usage            Usage             `json:"usage"`
	Metadata         map[string]string `json:"metadata"`
	// Additions: larger priorities go first; a paused batch is still
	// in_progress.
	Priority int    `json:"priority"`
	PausedAt *int64 `json:"paused_at"`
	// PauseReason is the reason why the gateway paused the batch, null if a client did.
	PauseReason *string `json:"pause_reason"`
	// WaitReason is the reason why no line can start: the time of day, a model without a server,
	// or no gateway that works on batches. It is null without one.
	WaitReason *string `json:"wait_reason"`
	// Cost is the cost so far. It is omitted if no prices are configured.
	Cost *Cost `json:"cost,omitempty"`
	// Tenant is the owner, for an administrator who has selected a tenant.
	Tenant string `json:"tenant,omitempty"`
	BatchTotals
}

// Cost is the cost of requests.
type Cost struct {
	Value            json.Number `json:"value"` // a decimal number
	Currency         string      `json:"currency"`
	UnpricedRequests int64       `json:"unpriced_requests"` // of unknown cost, not in Value
}

// BatchTotals repeats RequestCounts and the tokens of Usage as members of the
// Batch object itself. An addition of BESH's, kept.
type BatchTotals struct {
	RequestTotal     int64 `json:"request_total"`
	RequestCompleted int64 `json:"request_completed"`
	RequestFailed    int64 `json:"request_failed"`
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	TotalTokens      int64 `json:"total_tokens"`
}

// RequestCounts counts the lines of a batch. Completed + Failed ≤ Total: lines
// that never ran count as neither.
type RequestCounts struct {
	Total     int64 `json:"total"`
	Completed int64 `json:"completed"`
	Failed    int64 `json:"failed"`
}

// BatchErrors is the list of findings of the validation.
type BatchErrors struct {
	Object string       `json:"object"` // "list"
	Data   []BatchError `json:"data"`
}

// BatchError is one finding of validation.
type BatchError struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
	Line    *int    `json:"line"` // 1-based, counting blank lines
}

// Usage counts tokens, in the names of batches and of /v1/responses.
type Usage struct {
	InputTokens         int64               `json:"input_tokens"`
	InputTokensDetails  InputTokensDetails  `json:"input_tokens_details"`
	OutputTokens        int64               `json:"output_tokens"`
	OutputTokensDetails OutputTokensDetails `json:"output_tokens_details"`
	TotalTokens         int64               `json:"total_tokens"`
}

// InputTokensDetails is part of Usage.
type InputTokensDetails struct {
	CachedTokens int64 `json:"cached_tokens"`
}

// OutputTokensDetails is part of Usage.
type OutputTokensDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
}

// Add adds the counts of v. They saturate.
func (u *Usage) Add(v Usage) {
	u.InputTokens = saturate.Add(u.InputTokens, v.InputTokens)
	u.InputTokensDetails.CachedTokens = saturate.Add(u.InputTokensDetails.CachedTokens, v.InputTokensDetails.CachedTokens)
	u.OutputTokens = saturate.Add(u.OutputTokens, v.OutputTokens)
	u.OutputTokensDetails.ReasoningTokens = saturate.Add(u.OutputTokensDetails.ReasoningTokens, v.OutputTokensDetails.ReasoningTokens)
	u.TotalTokens = saturate.Add(u.TotalTokens, v.TotalTokens)
}

// List is the envelope of every listing. All five fields are always there.
type List[T any] struct {
	Object  string  `json:"object"` // "list"
	Data    []T     `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// NewList makes the envelope of items in their order; id names an item.
func NewList[T any](items []T, more bool, id func(T) string) List[T] {
	l := List[T]{Object: "list", Data: items, HasMore: more}
	if len(items) == 0 {
		l.Data = []T{}
		return l
	}
	first, last := id(items[0]), id(items[len(items)-1])
	l.FirstID, l.LastID = &first, &last
	return l
}

// Deleted answers a deletion.
type Deleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "file", "batch"
	Deleted bool   `json:"deleted"`
	// Message is BESH's answer, of batches only.
	Message string `json:"message,omitempty"`
}

// Model is one entry of GET /v1/models.
type Model struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "model"
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	// MaxModelLen is vLLM's addition: the context length in tokens.
	MaxModelLen int64 `json:"max_model_len,omitempty"`
	// Extra are further members of the object as the server wrote them, as JSON
	// without braces: "root":"m","parent":null.
	Extra string `json:"-"`
}

// MarshalJSON writes the object with its further members.
func (m Model) MarshalJSON() ([]byte, error) {
	type plain Model
	text, err := json.Marshal(plain(m))
	if err != nil || m.Extra == "" {
		return text, err
	}
	text = append(text[:len(text)-1], ',')
	return append(append(text, m.Extra...), '}'), nil
}

// ModelList answers GET /v1/models.
type ModelList struct {
	Object string  `json:"object"` // "list"
	Data   []Model `json:"data"`
}
