package batch

import (
	"context"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// uploadRetry is when a client with too many open uploads may ask again.
const uploadRetry = time.Minute

// admitUpload refuses an upload when as many as allowed are open. Uploads that
// are begun at the same moment may exceed the limit by their number.
func (s *FileService) admitUpload(ctx context.Context, tenant string) error {
	limit := s.limits().MaxOpenUploads
	open, err := s.Store.OpenUploads(ctx, tenant)
	if err != nil {
		return err
	}
	if open < limit {
		return nil
	}
	e := openai.InvalidRequest("", "too_many_uploads",
		"%d uploads are open, and the limit is %d (max_open_uploads). Complete or cancel some; one that is left alone expires after %s.", open, limit, s.limits().UploadTTL)
	e.Status, e.Type, e.RetryAfter = http.StatusTooManyRequests, openai.TypeRateLimit, uploadRetry
	return e
}

// admitPart refuses a part of an upload that has as many as allowed. Parts that
// come at the same moment may exceed the limit by their number.
func (s *FileService) admitPart(ctx context.Context, tenant, uploadID string) error {
	limit := s.limits().MaxUploadParts
	parts, err := s.Store.CountParts(ctx, tenant, uploadID)
	if err != nil {
		return err
	}
	if parts < limit {
		return nil
	}
	return openai.InvalidRequest("data", "too_many_parts", "The upload has %d parts, and the limit is %d (max_upload_parts). Begin a new upload with larger parts.", parts, limit)
}
