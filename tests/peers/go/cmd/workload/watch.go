package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/status"

	"spire-py/peers/internal/jsonl"
)

// watcher prints what the Workload API pushes.
type watcher struct {
	left atomic.Int64 // X.509 updates to go; below 0 for ever
	done context.CancelFunc
}

func (w *watcher) enough() bool { return w.left.Load() == 0 }

func describe(update *workloadapi.X509Context) jsonl.Fields {
	svids := []jsonl.Fields{}
	for _, svid := range update.SVIDs {
		leaf := svid.Certificates[0]
		svids = append(svids, jsonl.Fields{
			"id": svid.ID.String(), "hint": svid.Hint, "serial": leaf.SerialNumber.String(), "dns": leaf.DNSNames,
			"not_before": leaf.NotBefore.UTC().Format(time.RFC3339), "not_after": leaf.NotAfter.UTC().Format(time.RFC3339),
			"chain": len(svid.Certificates),
		})
	}
	return jsonl.Fields{"svids": svids, "bundles": authorities(update.Bundles)}
}

func authorities(set *x509bundle.Set) map[string]int {
	count := map[string]int{}
	for _, bundle := range set.Bundles() {
		count[bundle.TrustDomain().Name()] = len(bundle.X509Authorities())
	}
	return count
}

func (w *watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	jsonl.Emit("x509", describe(update))
	if w.left.Add(-1) == 0 {
		w.done()
	}
}

func (w *watcher) OnX509ContextWatchError(err error) { w.failed("x509", err) }

func (w *watcher) OnJWTBundlesUpdate(set *jwtbundle.Set) {
	keys := map[string][]string{}
	for _, bundle := range set.Bundles() {
		ids := []string{}
		for id := range bundle.JWTAuthorities() {
			ids = append(ids, id)
		}
		keys[bundle.TrustDomain().Name()] = ids
	}
	jsonl.Emit("jwt_bundles", jsonl.Fields{"keys": keys})
}

func (w *watcher) OnJWTBundlesWatchError(err error) { w.failed("jwt_bundles", err) }

func (w *watcher) OnX509BundlesUpdate(set *x509bundle.Set) {
	jsonl.Emit("x509_bundles", jsonl.Fields{"bundles": authorities(set)})
}

func (w *watcher) OnX509BundlesWatchError(err error) { w.failed("x509_bundles", err) }

func (w *watcher) failed(what string, err error) {
	if w.enough() {
		return // we ended it
	}
	answer := status.Convert(err)
	jsonl.Emit("watch_error", jsonl.Fields{"watch": what, "code": answer.Code().String(), "message": answer.Message()})
}

// watch follows all three streams until the context ends or enough X.509 updates came.
func watch(ctx context.Context, client *workloadapi.Client, s *settings) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watcher{done: cancel}
	w.left.Store(int64(s.updates))
	if s.updates == 0 {
		w.left.Store(-1)
	}
	ended := make(chan error, 3)
	go func() { ended <- client.WatchX509Context(ctx, w) }()
	go func() { ended <- client.WatchX509Bundles(ctx, w) }()
	go func() { ended <- client.WatchJWTBundles(ctx, w) }()
	err := <-ended
	enough := w.enough()
	cancel()
	<-ended
	<-ended
	if enough {
		return nil
	}
	return err
}

// fetch takes the identities once; an error is the answer of the agent.
func fetch(ctx context.Context, client *workloadapi.Client, _ *settings) error {
	update, err := client.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	jsonl.Emit("x509", describe(update))
	return nil
}
