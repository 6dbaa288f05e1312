package record

import (
	"context"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/txn"
)

// Request is what the transaction of a write has to know of its request.
func Request(ctx context.Context, in api.Write) txn.Request {
	r := in.Request(ctx)
	return txn.Request{Operation: r.Operation, Actor: r.Actor, UserID: r.UserID, Key: r.Key, Digest: r.Digest, ValidateOnly: r.ValidateOnly}
}

// Written are the headers of an answer to a write: none for a dry run.
func Written(receipt txn.Receipt) api.Written {
	if receipt.ValidateOnly {
		return api.Written{}
	}
	w := api.Written{TransactionID: receipt.TransactionID.String(), CommitLSN: receipt.CommitLSN}
	w.SetReplayed(receipt.Replayed)
	return w
}
