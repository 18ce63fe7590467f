package upload

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Incoming is the content of a file that is being received. Exactly one of Commit
// and Abort ends it; Abort after Commit does nothing. It is for one goroutine.
type Incoming struct {
	service *Service
	*measured
}

// Begin begins a file of a tenant with space for the declared number of bytes, 0 if it is
// unknown: the file may have more or less. It returns a *batch.QuotaError if it does not fit.
// Name and purpose are given to Commit, because the parts of a form come in any order.
func (s *Service) Begin(ctx context.Context, tenant string, declared int64) (*Incoming, error) {
	return s.begin(ctx, tenant, declared, s.limits().MaxFileBytes)
}

func (s *Service) begin(ctx context.Context, tenant string, declared, limit int64) (*Incoming, error) {
	room, err := s.admit(ctx, tenant, min(declared, limit))
	if err != nil {
		return nil, err
	}
	m, err := s.measure(ctx, openai.NewID("file-"), limit, WholeFile, room)
	if err != nil {
		return nil, err
	}
	return &Incoming{s, m}, nil
}

// WriteFile stores what write writes as a file of at most limit bytes. It uses
// Tenant, Filename, Purpose and TTL of f. Nothing is left after an error.
func (s *Service) WriteFile(ctx context.Context, f batch.NewFile, limit int64, write func(io.Writer) error) (batch.File, error) {
	in, err := s.begin(ctx, f.Tenant, 0, limit)
	if err != nil {
		return batch.File{}, err
	}
	if err := write(in); err != nil {
		return batch.File{}, errors.Join(err, in.Abort())
	}
	return in.Commit(ctx, f.Tenant, CommitRequest{Filename: f.Filename, Purpose: f.Purpose, TTL: f.TTL})
}

// CommitRequest describes an incoming content.
type CommitRequest struct {
	Filename string        // as CleanFilename returns it
	Purpose  string        // one of openai.UploadPurposes
	TTL      time.Duration // 0: the purpose's default
}

// Commit makes the content durable and then the file. After an error neither exists. A
// compressed file of requests is decompressed.
func (in *Incoming) Commit(ctx context.Context, tenant string, r CommitRequest) (batch.File, error) {
	s := in.service
	defer in.room.Release()
	c, err := s.finish(ctx, in.measured, r, s.limits().MaxFileBytes)
	if err != nil {
		return batch.File{}, err
	}
	nf := c.file(tenant, r, s)
	var f batch.File
	err = s.record(ctx, c.key, in.room,
		func(ctx context.Context) (err error) { f, err = s.Store.CreateFile(ctx, nf); return err },
		func(ctx context.Context) (err error) { f, err = s.Store.File(ctx, tenant, nf.ID); return err })
	if err != nil {
		return batch.File{}, fmt.Errorf("recording file: %w", err)
	}
	return f, nil
}

// stored is a durable content without a row.
type stored struct {
	key         string
	bytes       int64
	sha256      string
	compression *openai.Compression
}

func (c stored) file(tenant string, r CommitRequest, s *Service) batch.NewFile {
	return batch.NewFile{
		ID: c.key, Key: c.key, Tenant: tenant, Filename: r.Filename, Purpose: r.Purpose,
		Bytes: c.bytes, SHA256: c.sha256, TTL: s.ttl(r.Purpose, r.TTL), Compression: c.compression, Quota: s.Quota(tenant),
	}
}

// finish makes a content durable, decompressed and checked as its purpose needs.
// Nothing is left after an error. plainLimit limits the decompressed size in bytes
// if MaxDecompressedBytes is not set.
func (s *Service) finish(ctx context.Context, m *measured, r CommitRequest, plainLimit int64) (stored, error) {
	if r.Purpose == openai.PurposeBatch && m.size == 0 {
		return stored{}, errors.Join(ErrNotJSONL, m.Abort())
	}
	raw, err := m.commit(ctx)
	if err != nil || r.Purpose != openai.PurposeBatch {
		return raw, err
	}
	plain := raw
	if format := compressionOf(r.Filename); format != "" {
		limit := cmp.Or(s.Limits.MaxDecompressedBytes, plainLimit)
		plain, err = s.unpack(ctx, raw, format, limit, m.room)
		if removing := s.remove(ctx, raw.key); removing != nil && err == nil {
			err = errors.Join(removing, s.remove(ctx, plain.key))
		}
		if err != nil {
			return stored{}, err
		}
	}
	if err := s.checkJSONL(ctx, plain); err != nil {
		return stored{}, errors.Join(err, s.remove(ctx, plain.key))
	}
	return plain, nil
}

// checkJSONL returns ErrNotJSONL for a content without any line of JSON, or the
// *openai.LineTooLongError of its first line that is too long. Single invalid lines are
// found when a batch is validated.
func (s *Service) checkJSONL(ctx context.Context, c stored) error {
	content, err := batch.OpenContent(ctx, s.Files, c.key, c.bytes)
	if err != nil {
		return fmt.Errorf("checking file: %w", err)
	}
	defer content.Close()
	buffered := bufio.NewReaderSize(content, unpackBuffer)
	head, _ := buffered.Peek(4) // the next read returns the same error
	if encoding := openai.UTF16(head); encoding != "" {
		return &EncodingError{encoding}
	}
	lines := openai.NewLineReader(buffered, s.limits().MaxLineBytes)
	none := ErrNotJSONL
	for {
		line, err := lines.Next()
		if tooLong, ok := errors.AsType[*openai.LineTooLongError](err); ok {
			if errors.Is(none, ErrNotJSONL) {
				none = tooLong
			}
			continue
		}
		switch {
		case errors.Is(err, io.EOF):
			return none
		case err != nil:
			return fmt.Errorf("checking file: %w", err)
		case json.Valid(line.Bytes):
			return nil
		}
	}
}

// measured is a content that is counted and hashed while it is written.
type measured struct {
	key   string
	dst   batch.FileWriter
	sum   hash.Hash
	size  int64
	limit int64
	over  Subject // of the SizeError for more than limit bytes
	room  *room
	reach func(size int64) error // holds the space; see room
	err   error                  // of the first failed write
}

// measure begins a content. If it fails, it releases its room.
func (s *Service) measure(ctx context.Context, key string, limit int64, over Subject, room *room) (*measured, error) {
	dst, err := s.Files.Create(ctx, key)
	if err != nil {
		room.Release()
		return nil, fmt.Errorf("creating content: %w", err)
	}
	reach := func(size int64) error { return room.reach(ctx, size) }
	return &measured{key: key, dst: dst, sum: sha256.New(), limit: limit, over: over, room: room, reach: reach}, nil
}

// Write returns a *SizeError when the content becomes too large, and a *batch.QuotaError when
// it may not be stored.
func (m *measured) Write(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	if int64(len(p)) > m.limit-m.size {
		m.err = &SizeError{m.over, m.limit}
		return 0, m.err
	}
	if m.err = m.reach(m.size + int64(len(p))); m.err != nil {
		return 0, m.err
	}
	n, err := m.dst.Write(p)
	m.sum.Write(p[:n])
	m.size += int64(n)
	m.err = err
	return n, err
}

// Size returns the number of bytes written.
func (m *measured) Size() int64 { return m.size }

// Abort removes the unfinished content.
func (m *measured) Abort() error {
	defer m.room.Release()
	if err := m.dst.Abort(); err != nil {
		return fmt.Errorf("%w: %w", ErrLeftBehind, err)
	}
	return nil
}

func (m *measured) commit(ctx context.Context) (stored, error) {
	if m.err != nil {
		return stored{}, errors.Join(m.err, m.Abort())
	}
	if err := m.dst.Commit(ctx); err != nil {
		return stored{}, fmt.Errorf("storing content: %w", err)
	}
	return stored{key: m.key, bytes: m.size, sha256: hex.EncodeToString(m.sum.Sum(nil))}, nil
}
