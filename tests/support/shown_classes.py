"""The public classes of the library, for the test that nothing shows: which its scenes meet, and which hold no secret.

Names are those of modules within `polvo_adapters`. A class in neither table is made in `tests.test_nothing_shows`.
"""

from __future__ import annotations

_MET = """
auth.attach.credential.CredentialURL auth.attach.credential.HeaderAuth auth.attach.credential.OwnedHeaderValue
auth.attach.response_hook.ReauthenticateHook shells.requests.hooks.CredentialHook
auth.httpx_auth.AttachedCredential auth.httpx_auth.HTTPXAuth auth.jwt_login_auth.JWTLogin
auth.oauth.OAuth2 auth.oauth_requests.OAuth2Requests auth.protocol.client_authentication.ClientAuthentication
auth.protocol.client_authentication.Credentials auth.protocol.dpop.Nonces auth.protocol.dpop.Proofs
auth.protocol.grant_flow.GrantFlow auth.protocol.server.AuthorizationServer
auth.protocol.server_response.ServerResponse auth.secret_auth.HeldSecret auth.secret_auth.SecretAuth
auth.static.APIKey auth.static.Bearer auth.static.SessionToken auth.tokens.sealing.NoEncryption
auth.tokens.storage_factory.TokenStorageFactory auth.tokens.token_source.HeldToken
auth.tokens.token_source.TokenSource
auth.tokens.token_auth.TokenAuth auth.tokens.token_fetch.TokenFetch auth.tokens.token_storage.FallbackStore
auth.tokens.token_storage.TokenStorage client.call_record.CallRecord client.client_log.ClientLog
client.config.BulkheadConfig client.config.CircuitBreakerConfig client.config.ClientConfig client.config.LoggingConfig
client.config.RetryConfig client.config.Settings client.config.TimeoutConfig client.pending_call.PendingCall
client.resilient_client.ResilientClient client.stack.ClientBreaker client.transport.ClientTransport
client.stack.ClientBulkhead client.base_url_auth.BaseURLAuth client.closing.ClosingClock
client.closing.ClosingGate core.notices.LogListener
policies.bounded_backoff.BoundedBackoff context.call.CallSpan context.call.LogicalCall policies.defaults.DefaultDeadline
context.tenant.TenantScope core.effects.Acquire
core.effects.Decide core.effects.Release core.effects.Send core.effects.Sleep core.effects.Start
core.machines.Event core.notices.Notice core.report.Attempt core.report.Report
core.report.StateChange core.report.Wait core.trace.Trace drivers.decisions.Decisions
drivers.single_shot.SingleShotExchange  policies.breaker.policy.CircuitBreaker
policies.breaker.state.CallResult policies.breaker.state.CircuitState policies.breaker.state.Permit
policies.breaker.windows.Consecutive policies.bulkhead.policy.Bulkhead policies.bulkhead.policy.BulkheadState
policies.bulkhead.policy.Slot policies.deadline.Deadline policies.fallback.policy.Fallback
policies.fallback.stale_cache.LookUpResponse policies.fallback.stale_cache.StaleCache
policies.fallback.stale_cache.StaleCacheState policies.gates.Gate policies.gates.Gates policies.hedge.Hedge
policies.hedge.HedgeState policies.hedge_latency.Latencies policies.idempotency.policy.IdempotencyKeys
policies.idempotency.record.Begin policies.idempotency.record.Record policies.idempotency.record.RecordState
policies.idempotency.record.Run policies.idempotency.record.Sending policies.idempotency.recorded_run.RecordedRun
policies.ratelimit.policy.AdaptiveRateLimit
policies.ratelimit.flow.RateLimit policies.retry.ExponentialBackoff policies.retry_budget.RetryBudgetState
redaction.HiddenBytes redaction.HiddenText refresh.background.SharedCalls refresh.lifecycle.KnownToken
refresh.lifecycle.Lifecycle refresh.lifecycle.LifecycleState refresh.lifecycle.WantToken
refresh.refresh_ahead.RefreshAhead runtime.copies.SharedByCopies secrets.provider.Fetched
secrets.provider.Source secrets.providers.base.BaseProvider secrets.providers.function.Function
secrets.secret.Secret secrets.secret.Value services.double_o.client.Client
services.double_o.settings.ClientSettings shells.body_closing.BodyCloseActions
shells.bound_policies.BoundPolicies shells.bound_policies.PolicyControls shells.cancellation.CancellableExchange
shells.httpx.async_network.AsyncDeadlineBackend shells.httpx.async_exchange.AsyncHTTPXExchange
shells.httpx.cookies.SessionCookies shells.httpx.exchange.HTTPXExchange
shells.httpx.given_auth.AuthWithin shells.httpx.routes.Routes shells.httpx.session.AsyncSession
shells.httpx.session_requests.SessionRequests shells.httpx.session_sending.SessionSending
shells.httpx.session_transport.SessionTransport shells.httpx.verbs.AsyncVerbs shells.session_calls.CallScope
shells.session_calls.SessionCalls shells.httpx.network.DeadlineBackend shells.httpx.network.DeadlineStream
shells.httpx.trace.HTTPXTrace shells.httpx.transports.AsyncPolicyTransport
shells.httpx.transports.PolicyTransport shells.request_marks.RequestMarks
shells.requests.exchange.RacingExchange shells.requests.exchange.RequestsExchange
shells.requests.nesting_adapter.NestingAdapter shells.requests.one_shot.Channel shells.one_shot.OneShotError
shells.requests.policy_adapter.PolicyAdapter shells.requests.pool_limits.PoolLimits
shells.requests.attempts.RequestAttempts shells.requests.repeatable_request.RepeatableRequest
shells.requests.resilient_adapter.ResilientAdapter
shells.requests.session.Session shells.requests.single_policy_adapters.IdempotencyAdapter
shells.requests.single_policy_adapters.SinglePolicyAdapter shells.tenancy.Tenancy
shells.requests.wire.connections.TracedConnection shells.requests.wire.pools.AdapterView
shells.requests.wire.pools.KnownPools
shells.requests.wire.responses.TracedResponse shells.requests.wire.route.Route
shells.requests.wire.sockets.Sockets shells.requests.wire.transmission.Transmission stores.base.BaseStore
stores.memory.MemoryStore stores.persistent.PersistentStore stores.shared_clock.SharedClock
stores.sqlite.SQLiteStore stores.sqlite_file.Database testing.virtual_clock.VirtualClock
"""
MET = _MET.split()
"""Classes of which the scenes meet an object that is alive while or after a call is made."""

HOLDING_NONE = {
    "keywords for type checkers; none is ever made": """
auth.options.ConnectionOptions auth.options.GrantOptions auth.options.JWTLoginOptions auth.options.OAuth2Options
auth.options.ServerOptions auth.options.TokenAuthOptions auth.options.VendorOptions
auth.options.VendorSettings policies.options.OptionalPolicies
policies.options.StackOptions shells.httpx.verbs.AsyncSessionOptions shells.httpx.verbs.RequestOptions
    """,
    "events, verdicts and states of policies: numbers, names of state and digests": """
core.effects.Park core.effects.PolicyTraits core.effects.Race core.effects.TryDecide core.effects.Undecided
core.effects.WaitAny core.setting_kinds.SettingKind policies.asked_retry.AskedRetry
shells.given_up.GivenUpRequests core.judges.FormerKeyJudge core.judges.FormerRefusalJudge
core.machines.Changed core.machines.Refused core.machines.Wake core.notices.Retrying
auth.attach.replaced_credentials.ReplacedCredentials
policies.breaker.state.AcquirePermit policies.breaker.state.CircuitStatus policies.breaker.state.ManualControl
policies.deadline.CallDeadline
policies.breaker.windows.LastCalls policies.breaker.windows.LastSeconds policies.breaker.windows.Tally
policies.bulkhead.concurrency_limit.Concurrency policies.bulkhead.concurrency_limit.ConcurrencyState
policies.bulkhead.concurrency_limit.Sample policies.bulkhead.policy.AcquireSlot
policies.bulkhead.policy.AdaptiveBulkhead policies.bulkhead.policy.JoinQueue policies.bulkhead.policy.LeaveQueue
policies.bulkhead.policy.ReleaseSlot policies.fallback.alternatives.Another policies.fallback.alternatives.Fixed
policies.fallback.stale_cache.DropResponse policies.fallback.stale_cache.StoreResponse policies.gates.QueuePlace
policies.hedge.Plan policies.hedge.PlanHedge policies.hedge.RecordLatency policies.hedge.SpendHedge
policies.idempotency.record.Different policies.idempotency.record.Done policies.idempotency.record.Doubt
policies.idempotency.record.Doubtful policies.idempotency.record.Duplicate policies.idempotency.record.ForgetKey
policies.idempotency.record.KeyInUse policies.idempotency.record.LookAtKey policies.idempotency.record.Moved
policies.idempotency.record.Resolve policies.idempotency.record.Stored policies.idempotency.record.Unsent
policies.ratelimit.account.Account policies.ratelimit.account.LaterParts policies.ratelimit.account.LaterGroupParts
policies.ratelimit.account.QuotaBucket policies.ratelimit.pacing.state.Pace
policies.ratelimit.pacing.state.Seen policies.ratelimit.pacing.buckets.Level policies.ratelimit.configured.SlidingWindow
policies.ratelimit.configured.TokenBucket policies.ratelimit.turns.Turn policies.ratelimit.turns.ReleaseTurn
policies.ratelimit.turns.TurnRequest
policies.ratelimit.turns.TurnResult policies.regions.Regions policies.request_ids.RequestIDs policies.resume.Resume
policies.retry_budget.Deposit policies.retry_budget.Refusal policies.retry_budget.RetryBudget
policies.retry_budget.Spend refresh.lifecycle.ClearToken refresh.lifecycle.LookAtToken refresh.lifecycle.NoToken
refresh.lifecycle.RefreshFailed refresh.lifecycle.RefreshRight refresh.lifecycle.ReleaseRight
refresh.lifecycle.TokenRefreshed refresh.lifecycle.WaitForRefresh refresh.refresh_flow.FetchedToken
refresh.refresh_flow.RefreshFlow stores.persistent.Transition stores.sqlite_schema.ClockRow
    """,
    "what the answers of an API look like, as its documentation shows them": """
core.credential_refusals.CredentialRefusal core.credential_refusals.RefusalTest
    """,
    "how a token endpoint is asked and what its answers mean; secrets are named by templates": """
auth.protocol.token_endpoint.TokenEndpoint auth.protocol.token_endpoint.TokenResponse
auth.protocol.token_lifetime.Lifetime refresh.spent_tokens.SpentTokens
auth.protocol.revocation_endpoint.RevocationEndpoint
    """,
    "what the documentation of vendors says": """
auth.vendor_profile.Login auth.vendor_profile.Setting auth.vendor_profile.Vendor
    """,
    "what servers say about quotas": """
headers.quota.Complaint headers.entries.Context headers.names.Field headers.ietf.QuotaPolicy
headers.dialects.Dialect headers.ietf.QuotaState headers.quota.Quota headers.quota.Throttled headers.resets.Boundary
headers.resets.Reset headers.structured.Item
core.verdict.Verdict
    """,
    "outcomes, reports and traces without headers, bodies and texts of exceptions": """
core.outcomes.Advice core.outcomes.Ending core.outcomes.Failure core.report.BodyBreak core.report.StoreFailure
core.trace.Phase drivers.aio.AsyncSystemClock drivers.exchange.Cancelled
    """,
    "which bytes of an entity there are: positions, and the validator, which the server calls public": """
core.ranges.ContentRange core.ranges.Entity core.ranges.Rest core.ranges.Unproved stores.partial_files.Origin
stores.partial_files.PartialFile shells.resumption.BodyProgress shells.resumption.PartBounds
    """,
    "what is between a body and its connection, and gives the caller the bytes": """
shells.requests.resuming_body.ChunkedResumingBody shells.requests.resuming_body.FirstPart
shells.requests.resuming_body.LaterPart shells.requests.resuming_body.ResumingBody
    """,
    "the failure server and simulations, which are for tests and show what they were sent": """
testing.limiters.AlignedWindowLimiter testing.limiters.EstimatedWindowLimiter
testing.limiters.FixedWindowLimiter testing.limiters.SlidingWindowLimiter testing.limiters.Standing
testing.limiters.TokenBucketLimiter testing.server.connection.ClientGoneError
testing.server.connection.Connection testing.server.failure_server.FailureServer testing.server.faults.FaultSpec
testing.server.http_messages.MalformedRequestError testing.server.http_messages.RefusedError
testing.server.http_messages.Reply testing.server.http_messages.Request testing.server.http_messages.RequestBody
testing.server.issued_tokens.Tokens testing.server.journal.Counters testing.server.journal.Journal
testing.server.journal.JournalEntry testing.server.journal.KeyCounters testing.server.journal.RequestRecord
testing.server.message_endpoints.Contract testing.server.pending_logins.CodeGrant
testing.server.pending_logins.DeviceGrant testing.server.pending_logins.Grant
testing.server.pending_logins.PendingLogins testing.server.state.ExpiringCache testing.server.state.FailureSwitch
testing.server.state.Quotas testing.server.state.RequestContext testing.server.state.ServerState
testing.simulation.crowd.CrowdClient testing.simulation.crowd.CrowdResult testing.simulation.crowd.CrowdSample
testing.simulation.crowd.CrowdWindow testing.simulation.crowd.QuotaServer
testing.simulation.overload.OverloadResult testing.simulation.overload.OverloadSample
testing.simulation.overload.OverloadedServer testing.simulation.overload.Phase
testing.simulation.overload.ScheduledCall testing.simulation.simulation.Script
testing.simulation.simulation.ScriptedFailure testing.simulation.simulation.ScriptedReply
testing.simulation.simulation.SimulatedCall testing.simulation.simulation.SimulatedClient
testing.simulation.simulation.SimulatedError testing.simulation.simulation.Simulation
testing.simulation.simulation.Timeline
    """,
    "what commands have measured or draw": """
cli.demo_plan.PlannedCall cli.demo_plan.Scenario cli.demo_trial.Figures cli.demo_trial.Limits
cli.demo_trial.TrialClient cli.demo_trial.TrialResult cli.probe.Finding cli.probe_forecast.Forecast
cli.render.Screen cli.token_records.Cache
    """,
    "exceptions with texts of this package alone": """
auth.tokens.sealing.DecryptionError auth.tokens.sealing.OtherKeyError auth.tokens.sealing.NoKeyFile
runtime.workers.NoThreadError
services.double_o.cache.OverdueError stores.codec.Undecodable stores.private_files.FileInUse
stores.file_trust.Unfit stores.token_cache.Corrupt
    """,
    "what refuses to be assigned, and holds the names of settings alone": """
shells.fixed_options.FixedOption
    """,
    "marks and modes of the services, which are types and no objects": """
services.taruvi.operations.Async services.taruvi.operations.Module services.taruvi.operations.Sync
services.taruvi.operations.operation services.taruvi.client.BaseClient services.taruvi.runtime.RuntimeMode
    """,
    "names where secrets are, and holds none": """
auth.signing_auth.SignatureHook core.identity.Credential shells.requests.hooks.FirstOriginHook
secrets.providers.aws.ParameterStore secrets.providers.aws.SecretsManager secrets.providers.base.LeftBehind
secrets.providers.environment.Environment secrets.providers.file.DotEnv secrets.providers.file.File
secrets.providers.keyring.Keyring
    """,
    "wraps what is looked at in itself: a transport, a connection, a stream, a session": """
auth.tokens.refresh_token_use.RefreshTokenUse
shells.requests.installed_adapters.Installation shells.requests.installed_adapters.InstalledAdapters
shells.installation.BaseInstallation shells.httpx.install.Installation shells.httpx.install.InstalledLookup
shells.httpx.resilient.ResilientTransport shells.httpx.resilient.AsyncResilientTransport
runtime.async_library.Late runtime.async_library.Wakeup shells.httpx.url_prefix.URLPrefix
shells.requests.wire.pools.PoolView shells.requests.wrapping.Wrapping
drivers.beside.AskedStore drivers.beside.BesideDecisions runtime.serial_thread.SerialThread runtime.loop_ends.LoopEnd
secrets.async_fetch.AsyncClockOf secrets.async_fetch.AsyncSecretFetch secrets.async_fetch.SharedTasks
secrets.secret_fetch.SecretFetch
core.identity.Sender auth.signing_auth.SigningAuth auth.httpx_signing.HTTPXSigningAuth
shells.requests.signing.UnsignedState
auth.attach.response_hook.InertHook requests.Session runtime.bounded.BoundedCalls runtime.clock.SystemClock
runtime.clock.SystemTime runtime.shared_call.SharedCall runtime.workers.Workers shells.circuit_control.Circuit
shells.encodings.EncodingCheck shells.httpx.exchange.RacingHTTPXExchange
shells.httpx.exchange.BaseHTTPXExchange shells.httpx.exchange.KeptBody
shells.httpx.api.LoopPools shells.httpx.json_errors.NoJSONResponse
shells.httpx.observed_body.ObservedStream shells.httpx.timeouts.DeadlineTimeout
shells.operation_control.Operation shells.request_identity.RequestKey shells.requests.api.SharedConnections
shells.requests.drop_in.OneCallSession shells.requests.hooks.SessionHooks shells.requests.response.Response
shells.requests.response.WatchedResponse shells.requests.single_policy_adapters.BreakerAdapter
shells.requests.single_policy_adapters.BulkheadAdapter shells.requests.single_policy_adapters.FallbackAdapter
shells.requests.single_policy_adapters.HedgeAdapter shells.requests.single_policy_adapters.RateLimitAdapter
shells.requests.single_policy_adapters.RegionsAdapter shells.requests.single_policy_adapters.RetryAdapter
shells.urls.ResolvedURL shells.requests.wire.owners.ConnectionOwner
shells.requests.wire.responses.DeadlineReader shells.requests.wire.sockets.CutOff
    """,
    "polls with a DeviceAuthorization, which is looked at, and runs until the user has answered": """
auth.protocol.device_code.DevicePolling
    """,
    "whole to code that reads it; repr, format and pickle are looked at in tests/auth/test_httpx_everywhere.py": """
auth.attach.httpx_places.CredentialHTTPXURL
    """,
    "which file: numbers": """
stores.private_files.Identity
    """,
    "counts, times, and names of quotas": """
policies.ratelimit.costs.Percentage policies.ratelimit.pacing.counters.Count
policies.ratelimit.pacing.counters.End policies.ratelimit.pacing.counters.Outlook
policies.ratelimit.pacing.counters.Step
    """,
    "which task is cancelled when, and what is closed with its event loop": """
runtime.alarms.Alarm runtime.alarms.AlarmClock runtime.loop_ends.LoopEnd
    """,
    "asks a Retry of urllib3, and shows what that shows": """
shells.requests.wire.recording_retry.RecordingRetry
    """,
    "how the attempts of a job are made, and where they are kept: origins, numbers, a connection to a file": """
services.ezthrottle.engines.local_attempts.Attempts services.ezthrottle.engines.local_attempts.NamedReroutes
services.ezthrottle.engines.local_attempts.Plan services.ezthrottle.engines.local_dispatcher.Dispatcher
services.ezthrottle.engines.local_files.LocalFiles services.ezthrottle.engines.local_jobs.JobRunner
services.ezthrottle.engines.local_queue.DiskQueue
services.ezthrottle.engines.local_records.DiskRecords
    """,
    "words": """
services.ezthrottle.step.IdempotentStrategy services.ezthrottle.step.StepType
    """,
    "the result of a job, which is for the caller: a dict with the body of the response": """
services.ezthrottle.results.JobResult
    """,
    "what a server has answered, for a function of the caller's; its repr shows neither headers nor body": """
core.answer.Answer
    """,
    "what the caller says of one call, and what listeners are told of it: names, numbers and labels": """
context.one_call.CallScope core.notices.CallEvent policies.call_listeners.CallListeners
policies.one_call.CallOptions policies.one_call.CallSettings policies.one_call.Operation
    """,
    "names of modules, and what they hold": """
moved.MovedModuleFinder shells.requests.mirror.Mirror shells.requests.mirror.MirrorFinder
shells.requests.mirror.Replacement
    """,
}
"""Classes whose objects can hold no secret, by the reason."""
