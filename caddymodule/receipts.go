package caddymodule

import (
	"context"
	"encoding/json"
	"path/filepath"
	"sync"

	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/receipt"
)

// receiptKeyFile is the name of the file with the private key of receipts, in the data
// directory.
const receiptKeyFile = "receipt.key"

// mostReceiptKeys limits the list of public keys.
const mostReceiptKeys = 1000

// receipts signs receipts of batches with the key in the data directory.
type receipts struct {
	engine *engine.Engine
	data   string

	mu     sync.Mutex
	signer *receipt.Signer // guarded by mu; nil until its public key is in the store
}

// Receipt implements httpapi.Receipts.
func (r *receipts) Receipt(ctx context.Context, tenant, id string) ([]byte, error) {
	unsigned, err := r.engine.Receipt(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	signer, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	return receipt.Sign(unsigned, signer)
}

// load returns the signer. The first receipt makes the key, and its public key is in the
// store before a receipt is sent, so that every gateway lists it. A key file that is
// replaced applies after a reload of the configuration.
func (r *receipts) load(ctx context.Context) (*receipt.Signer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.signer != nil {
		return r.signer, nil
	}
	signer, err := receipt.Load(filepath.Join(r.data, receiptKeyFile))
	if err != nil {
		return nil, err
	}
	key := signer.Public()
	if err := r.engine.Store().AddReceiptKey(ctx, key.KeyID, key.PublicKey); err != nil {
		return nil, err
	}
	r.signer = signer
	return signer, nil
}

// ReceiptKeys implements httpapi.Receipts.
func (r *receipts) ReceiptKeys(ctx context.Context) ([]byte, error) {
	all, err := r.engine.Store().ReceiptKeys(ctx, mostReceiptKeys)
	if err != nil {
		return nil, err
	}
	list := receipt.Keys{Object: "list", Data: make([]receipt.Key, len(all))}
	for i, k := range all {
		list.Data[i] = receipt.Key{KeyID: k.ID, Algorithm: receipt.Algorithm, PublicKey: k.Public}
	}
	return json.Marshal(list)
}
