// The peer of `make bench-fanout`: a minimal ADS server on go-control-plane, which serves one
// endpoint assignment and counts what its clients acknowledge.
//
// It is led by lines on its standard input, as all servers of the benchmark are:
//
//	await COUNT           answers "acked AT" once so many more ACKs are in
//	publish HEX COUNT     publishes this assignment, answers "published BEGAN CALLED RETURNED",
//	                      then as await does
//	stats                 answers "stats CPU-NANOSECONDS"
//
// Times are nanoseconds of CLOCK_MONOTONIC, so that other processes' times compare with them.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// A backend is one of the two caches. prepare does what comes before the call that publishes,
// and returns that call.
type backend struct {
	cache   cache.Cache
	prepare func(assignment *endpoint.ClusterLoadAssignment) func() error
}

// Snapshots of one group that all nodes are in.
func snapshots() backend {
	snapshots := cache.NewSnapshotCache(true, group{}, nil)
	version := 0
	prepare := func(assignment *endpoint.ClusterLoadAssignment) func() error {
		version++
		resources := map[resource.Type][]types.Resource{resource.EndpointType: {assignment}}
		snapshot, err := cache.NewSnapshot(strconv.Itoa(version), resources)
		return func() error {
			if err != nil {
				return err
			}
			return snapshots.SetSnapshot(context.Background(), group{}.ID(nil), snapshot)
		}
	}
	return backend{snapshots, prepare}
}

type group struct{}

func (group) ID(*core.Node) string { return "fleet" }

func linear() backend {
	linear := cache.NewLinearCache(resource.EndpointType)
	prepare := func(assignment *endpoint.ClusterLoadAssignment) func() error {
		return func() error { return linear.UpdateResource(assignment.ClusterName, assignment) }
	}
	return backend{linear, prepare}
}

// A count of ACKs that one waiter can wait for.
type count struct {
	sync.Mutex
	arrived, target int64
	waited          bool
	reached         chan int64
}

func (c *count) add() {
	c.Lock()
	defer c.Unlock()
	c.arrived++
	c.tell()
}

// Lets the present wait end after so many more ACKs than all former waits were for.
func (c *count) expect(more int64) {
	c.Lock()
	defer c.Unlock()
	c.target += more
	c.waited = true
	c.tell()
}

func (c *count) tell() {
	if c.waited && c.arrived >= c.target {
		c.waited = false
		c.reached <- now()
	}
}

func now() int64 {
	var time unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &time); err != nil {
		log.Fatal(err)
	}
	return time.Nano()
}

func cpu() int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func publish(backend backend, body string) error {
	bytes, err := hex.DecodeString(body)
	if err != nil {
		return err
	}
	assignment := &endpoint.ClusterLoadAssignment{}
	if err := proto.Unmarshal(bytes, assignment); err != nil {
		return err
	}
	began := now()
	call := backend.prepare(assignment)
	called := now()
	if err := call(); err != nil {
		return err
	}
	fmt.Println("published", began, called, now())
	return nil
}

func obey(backend backend, acks *count, line string) error {
	words := strings.Fields(line)
	if len(words) == 1 && words[0] == "stats" {
		fmt.Println("stats", cpu())
		return nil
	}
	if len(words) < 2 {
		return fmt.Errorf("not a command: %s", line)
	}
	expected, err := strconv.ParseInt(words[len(words)-1], 10, 64)
	if err != nil {
		return err
	}
	acks.expect(expected)
	if words[0] == "publish" {
		if err := publish(backend, words[1]); err != nil {
			return err
		}
	}
	fmt.Println("acked", <-acks.reached)
	return nil
}

func main() {
	kind := flag.String("cache", "snapshot", "snapshot or linear")
	flag.Parse()
	backend := snapshots()
	if *kind == "linear" {
		backend = linear()
	}
	// Room for one: no stream waits until somebody has noticed.
	acks := &count{reached: make(chan int64, 1)}
	callbacks := server.CallbackFuncs{
		StreamDeltaRequestFunc: func(_ int64, request *discovery.DeltaDiscoveryRequest) error {
			if request.ResponseNonce != "" && request.ErrorDetail == nil {
				acks.add()
			}
			return nil
		},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	serving := grpc.NewServer()
	ads := server.NewServer(context.Background(), backend.cache, callbacks)
	discovery.RegisterAggregatedDiscoveryServiceServer(serving, ads)
	go func() { log.Fatal(serving.Serve(listener)) }()
	fmt.Println("listening", listener.Addr())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := obey(backend, acks, lines.Text()); err != nil {
			log.Fatal(err)
		}
	}
}
