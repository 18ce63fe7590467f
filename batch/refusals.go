package batch

import "errors"

// Reasons of a StateError.
var (
	ErrNotEnded     = errors.New("batch has not ended")
	ErrNotValidated = errors.New("input of the batch did not validate")
	ErrNoFailures   = errors.New("batch has no failed requests")
	ErrInputGone    = errors.New("input file of the batch no longer exists")
	ErrErrorsGone   = errors.New("error file of the batch no longer exists")
	ErrNoIndex      = errors.New("batch has no index of its lines")
	ErrResultsGone  = errors.New("results of the batch no longer exist")
	ErrNoReceipt    = errors.New("receipts are made of batches that have ended")
	ErrKeyOfDeleted = errors.New("batch of the idempotency key was deleted")
)

// StateError reports a request that the state of a batch or of its files does not
// allow.
type StateError struct {
	BatchID string
	Status  Status // with ErrNotEnded
	FileID  string // with ErrInputGone and ErrErrorsGone
	Err     error  // the reason
}

func (e *StateError) Error() string { return "batch " + e.BatchID + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *StateError) Unwrap() error { return e.Err }

// PurposeError reports a file that cannot be the input of a batch.
type PurposeError struct {
	FileID, Purpose string
}

func (e *PurposeError) Error() string {
	return "file " + e.FileID + " has the purpose " + e.Purpose + ", not batch"
}

// MetadataError reports metadata that a batch cannot have.
type MetadataError struct {
	Key string
	Err error // the reason
}

func (e *MetadataError) Error() string { return "metadata." + e.Key + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *MetadataError) Unwrap() error { return e.Err }
