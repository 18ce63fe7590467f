package batch

import (
	"path"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/openai"
)

// DefaultTenant owns everything while no tenants are configured.
const DefaultTenant = access.DefaultTenant

// AllTenants means every tenant, in a WebhookTarget, in BatchStates, FindBatches, QueuedLines, Storage,
// TenantStorage and KeyUsage, and in the lists Files and Batches.
const AllTenants = "*"

// File is a stored file. Its content lies in Files under Key.
type File struct {
	ID          string // "file-" and random characters
	Tenant      string
	Key         string // of the content in Files
	Filename    string // as the client named it, without directories
	Purpose     string
	Bytes       int64
	SHA256      string // of the content, hex
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: never
	Compression *openai.Compression
}

// PlainFilename returns the name of the content as it is stored: without the
// extension of its compression if it was decompressed.
func (f File) PlainFilename() string {
	if f.Compression == nil {
		return f.Filename
	}
	name := strings.TrimSuffix(f.Filename, path.Ext(f.Filename))
	if path.Ext(name) == "" {
		name += ".jsonl"
	}
	return name
}

// NewFile holds the values from which a store makes a File. The store sets the times by
// the database's clock.
type NewFile struct {
	ID, Tenant, Key, Filename, Purpose string
	Bytes                              int64
	SHA256                             string
	TTL                                time.Duration // 0: never expires
	Compression                        *openai.Compression
	Quota                              Quota
}

// FileQuery asks for a page of files.
type FileQuery struct {
	Purpose   string // "" for any
	After     string // id of the file before the first wanted, "" from the start
	Limit     int
	Ascending bool // by creation; the newest first otherwise
}

// States of an upload (https://platform.openai.com/docs/api-reference/uploads/object).
const (
	UploadPending   = "pending"
	UploadCompleted = "completed"
	UploadCancelled = "cancelled"
	UploadExpired   = "expired"
)

// Upload is a file that arrives in parts.
type Upload struct {
	ID        string // "upload_" and hex
	Tenant    string
	Filename  string
	Purpose   string
	MimeType  string
	Bytes     int64         // what the parts must add up to
	FileTTL   time.Duration // of the file that it becomes, 0: the purpose's default
	Status    string
	CreatedAt time.Time
	ExpiresAt time.Time
	FileID    string // once completed
}

// UploadPart is one part of an upload. Its content lies in Files under Key.
type UploadPart struct {
	ID        string // "part_" and hex
	UploadID  string
	Key       string
	Bytes     int64
	CreatedAt time.Time
}

// PurposeIndex is the purpose of files that index the results of a batch.
const PurposeIndex = "batch_index"

// IndexTenant returns the tenant that owns the indexes of a tenant's batches.
func IndexTenant(tenant string) string { return indexTenant + tenant }

const indexTenant = "\x01index/"

// OwnerOf returns the tenant of an IndexTenant, and other tenants as they are.
func OwnerOf(tenant string) string { return strings.TrimPrefix(tenant, indexTenant) }
