"""SDKs that are built on `requests`: how each is made, how this package gets into it, what it reads and what it writes.

The code of a row is run as it stands, and `docs/with-your-sdk.md` shows it. Its names are `url` and `port`, where the
stand-in listens, `requests`, and `polvo`. What it leaves behind is `client`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class SDK:
    """One SDK.

    Args:
        package: Its name on PyPI.
        kind: How we get in: "argument", "attribute", "is a session", "drop-in".
        setup: What comes first with and without this package: imports, and settings that name the stand-in.
        bare: Makes the client.
        ours: Makes the client with this package, in one line or two.
        read: Reads something.
        write: Writes something; empty where the SDK only reads.
        answer: What the stand-in answers to a read.
        receipt: What it answers to a write; by default the same.
        status: Status of that.
        loop: What the SDK repeats by itself, or nothing.
        setting: What to set, or nothing.
        datetimes: Modules of the SDK that take the time from `datetime`.
        title: Which of several ways into one package it is.
    """

    package: str
    kind: str
    setup: str
    bare: str
    ours: str
    read: str
    write: str
    answer: Any = field(default_factory=dict)
    receipt: Any = None
    status: int = 200
    loop: str = ""
    setting: str = ""
    datetimes: tuple[str, ...] = ()
    title: str = ""

    @property
    def name(self) -> str:
        """The package, and which way into it."""
        return f"{self.package} ({self.title})" if self.title else self.package


ARGUMENT, ATTRIBUTE, IS_SESSION, DROP_IN = "a session argument", "an attribute", "is a session", "the drop-in"
THING = {"id": 7, "name": "polvo"}

SDKS = [
    SDK(
        "python-gitlab",
        ARGUMENT,
        "import gitlab",
        "client = gitlab.Gitlab(url, private_token='t')",
        "session = polvo.install(requests.Session())\nclient = gitlab.Gitlab(url, private_token='t', session=session)",
        "client.projects.get(7).name",
        "client.projects.create({'name': 'polvo'}).name",
        THING,
        status=201,
        loop="429",
    ),
    SDK(
        "python-gitlab",
        ARGUMENT,
        "import gitlab",
        "client = gitlab.Gitlab(url, private_token='t', retry_transient_errors=True)",
        "session = polvo.install(requests.Session())\n"
        "client = gitlab.Gitlab(url, private_token='t', session=session, retry_transient_errors=True)",
        "client.projects.get(7).name",
        "client.projects.create({'name': 'polvo'}).name",
        THING,
        status=201,
        loop="429, 5xx, no connection; writes too",
        setting="leave `retry_transient_errors` off: it repeats writes",
        title="retry_transient_errors",
    ),
    SDK(
        "hvac",
        ARGUMENT,
        "import hvac",
        "client = hvac.Client(url, token='t')",
        "session = polvo.install(requests.Session())\nclient = hvac.Client(url, token='t', session=session)",
        "client.secrets.kv.v2.read_secret_version('app', raise_on_deleted_version=True)['data']['data']",
        "client.secrets.kv.v2.create_or_update_secret('app', {'a': 'b'})['data']",
        {"data": {"data": {"a": "b"}, "metadata": {}}},
    ),
    SDK(
        "docker",
        IS_SESSION,
        "import docker",
        "client = docker.APIClient(f'tcp://127.0.0.1:{port}', version='1.44')",
        "client = polvo.install(docker.APIClient(f'tcp://127.0.0.1:{port}', version='1.44'))",
        "client.version()['ApiVersion']",
        "client.create_container('image')['Id']",
        {"ApiVersion": "1.44"},
        {"Id": "c1"},
        201,
    ),
    SDK(
        "google-auth",
        IS_SESSION,
        "from google.auth.credentials import AnonymousCredentials\n"
        "from google.auth.transport.requests import AuthorizedSession",
        "client = AuthorizedSession(AnonymousCredentials())",
        "client = polvo.install(AuthorizedSession(AnonymousCredentials()))",
        "client.get(url + '/thing').status_code",
        "client.post(url + '/thing', json={}).status_code",
    ),
    SDK(
        "requests-oauthlib",
        IS_SESSION,
        "from requests_oauthlib import OAuth1Session",
        "client = OAuth1Session('client', 'secret', 'owner', 'secret')",
        "client = polvo.install(OAuth1Session('client', 'secret', 'owner', 'secret'))",
        "client.get(url + '/thing').status_code",
        "client.post(url + '/thing', data={'a': 'b'}).status_code",
        title="OAuth1Session",
    ),
    SDK(
        "requests-oauthlib",
        IS_SESSION,
        "import os\nfrom requests_oauthlib import OAuth2Session\nos.environ['OAUTHLIB_INSECURE_TRANSPORT'] = '1'\n"
        "token = {'access_token': 'a', 'token_type': 'Bearer', 'expires_in': 3600}",
        "client = OAuth2Session('client', token=token)",
        "client = polvo.install(OAuth2Session('client', token=token))",
        "client.get(url + '/thing').status_code",
        "client.post(url + '/thing', data={'a': 'b'}).status_code",
        title="OAuth2Session",
    ),
    SDK(
        "requests-toolbelt",
        IS_SESSION,
        "from requests_toolbelt.sessions import BaseUrlSession",
        "client = BaseUrlSession(url)",
        "client = polvo.install(BaseUrlSession(url))",
        "client.get('/thing').status_code",
        "client.post('/thing', json={}).status_code",
    ),
    SDK(
        "jira",
        ATTRIBUTE,
        "import jira",
        "client = jira.JIRA(url, token_auth='t', get_server_info=False)",
        "client = jira.JIRA(url, token_auth='t', get_server_info=False)\npolvo.install(client._session)",
        "client.issue('A-1').key",
        "client.create_issue({'project': {'id': '1'}, 'issuetype': {'id': '1'}}, prefetch=False).key",
        {"id": "7", "key": "A-1", "fields": {}},
        status=201,
        loop="429, 503 with Retry-After, no connection; writes too",
        setting="`max_retries=0` leaves retries to us, and writes are not repeated",
    ),
    SDK(
        "PyGithub",
        "a class that is put in",
        "import github\nfrom github import Requester as parts\n"
        "parts.Requester.resetConnectionClasses()\n"
        "options = {'base_url': url, 'seconds_between_requests': 0, 'seconds_between_writes': 0}",
        "client = github.Github(**options)",
        "class Resilient:\n"
        "    def __init__(self, *arguments, **keywords):\n"
        "        super().__init__(*arguments, **keywords)\n"
        "        polvo.install(self.session)\n\n\n"
        'http = type("Connection", (Resilient, parts.HTTPRequestsConnectionClass), {})\n'
        'https = type("Connection", (Resilient, parts.HTTPSRequestsConnectionClass), {})\n'
        "parts.Requester.injectConnectionClasses(http, https)\n"
        "client = github.Github(**options)",
        "client.get_repo('a/b').id",
        "client.get_user().create_repo('polvo').name",
        {**THING, "url": "/repos/a/b"},
        status=201,
        loop="403, 429, 5xx, no connection; writes too",
    ),
    SDK(
        "prawcore",
        ARGUMENT,
        "import prawcore\n"
        "urls = {'oauth_url': url, 'reddit_url': url}\n"
        "def authorize(requestor):\n"
        "    authenticator = prawcore.TrustedAuthenticator(requestor=requestor, client_id='c', client_secret='s')\n"
        "    authorizer = prawcore.ReadOnlyAuthorizer(authenticator=authenticator)\n"
        "    authorizer.refresh()\n"
        "    return authorizer",
        "requestor = prawcore.Requestor(user_agent='polvo 1.0', **urls)\n"
        "client = prawcore.session(authorizer=authorize(requestor))",
        "requestor = prawcore.Requestor(user_agent='polvo 1.0', session=polvo.install(requests.Session()), **urls)\n"
        "client = prawcore.session(authorizer=authorize(requestor))",
        "client.request(method='GET', path='/api/v1/me')['name']",
        "client.request(method='POST', path='/api/comment', data={'text': 't'})['name']",
        {**THING, "access_token": "a", "expires_in": 3600, "scope": "*"},
        loop="5xx, no connection; writes too",
    ),
    SDK(
        "googlemaps",
        ARGUMENT,
        "import googlemaps\nimport googlemaps.geolocation\ngooglemaps.geolocation._GEOLOCATION_BASE_URL = url",
        "client = googlemaps.Client('AIzaKey', base_url=url)",
        "session = polvo.install(requests.Session())\n"
        "client = googlemaps.Client('AIzaKey', base_url=url, requests_session=session)",
        "client.geocode('Lisboa')",
        "client.geolocate()['id']",
        {"status": "OK", "results": [THING], **THING},
        loop="500, 503, 504 for a minute; writes too",
        setting="`retry_timeout=0` leaves retries to us",
        datetimes=("googlemaps.client",),
    ),
    SDK(
        "spotipy",
        ARGUMENT,
        "import spotipy\nspotipy.Spotify.prefix = property(lambda self: url + '/v1/', lambda self, value: None)",
        "client = spotipy.Spotify(auth='t')",
        "client = spotipy.Spotify(auth='t', requests_session=polvo.install(requests.Session()))",
        "client.track('6b2oQwSGFkzsMtQruIWm2p')['name']",
        "client.playlist_add_items('6b2oQwSGFkzsMtQruIWm2p', ['6b2oQwSGFkzsMtQruIWm2p'])['name']",
        THING,
        status=201,
        loop="429, 5xx, in a session of its own",
        setting="nothing; a session that it is given has no `Retry` of the SDK",
    ),
    SDK(
        "spotipy",
        ATTRIBUTE,
        "import spotipy\nspotipy.Spotify.prefix = property(lambda self: url + '/v1/', lambda self, value: None)",
        "client = spotipy.Spotify(auth='t')",
        "client = spotipy.Spotify(auth='t')\npolvo.install(client._session)",
        "client.track('6b2oQwSGFkzsMtQruIWm2p')['name']",
        "client.playlist_add_items('6b2oQwSGFkzsMtQruIWm2p', ['6b2oQwSGFkzsMtQruIWm2p'])['name']",
        THING,
        status=201,
        loop="429, 5xx; writes too",
        title="its own session",
    ),
    SDK(
        "simple-salesforce",
        ARGUMENT,
        "from simple_salesforce import Salesforce\n"
        "Salesforce.base_url = property(lambda self: url + '/services/data/v59.0/', lambda self, value: None)",
        "client = Salesforce(instance='example.com', session_id='t')",
        "session = polvo.install(requests.Session())\n"
        "client = Salesforce(instance='example.com', session_id='t', session=session)",
        "client.restful('sobjects/Account/7')['name']",
        "client.restful('sobjects/Account', method='POST', json={'Name': 'n'})['name']",
        THING,
        status=201,
    ),
    SDK(
        "atlassian-python-api",
        ARGUMENT,
        "import atlassian",
        "client = atlassian.Jira(url, token='t')",
        "client = atlassian.Jira(url, token='t', session=polvo.install(requests.Session()))",
        "client.issue('A-1')['name']",
        "client.create_issue({'summary': 's'})['name']",
        THING,
        status=201,
    ),
    SDK(
        "atlassian-python-api",
        ATTRIBUTE,
        "import atlassian",
        "client = atlassian.Jira(url, token='t', backoff_and_retry=True, max_backoff_retries=5)",
        "client = atlassian.Jira(url, token='t', backoff_and_retry=True, max_backoff_retries=5)\n"
        "polvo.install(client.session)",
        "client.issue('A-1')['name']",
        "client.create_issue({'summary': 's'})['name']",
        THING,
        status=201,
        loop="413, 429, 503 with Retry-After; writes too",
        title="backoff_and_retry",
    ),
    SDK(
        "pyairtable",
        ATTRIBUTE,
        "import pyairtable",
        "client = pyairtable.Api('t', endpoint_url=url)",
        "client = pyairtable.Api('t', endpoint_url=url)\npolvo.install(client.session)",
        "client.table('app1', 'T').get('rec1')['fields']",
        "client.table('app1', 'T').create({'a': 'b'})['fields']",
        {"id": "rec1", "createdTime": "2026-01-01T00:00:00.000Z", "fields": {"a": "b"}},
        loop="429; writes too",
    ),
    SDK(
        "py-consul",
        ATTRIBUTE,
        "import consul",
        "client = consul.Consul(host='127.0.0.1', port=port)",
        "client = consul.Consul(host='127.0.0.1', port=port)\n"
        "polvo.install(client.http.session, retry={'methods': ['GET', 'HEAD']})",
        "client.agent.self()['name']",
        "client.session.create()",
        THING,
        {"ID": "s1"},
        setting="`methods`, as here: it creates by PUT, which is otherwise repeated",
    ),
    SDK(
        "prometheus-api-client",
        ATTRIBUTE,
        "from prometheus_api_client import PrometheusConnect",
        "client = PrometheusConnect(url)",
        "client = PrometheusConnect(url)\npolvo.install(client._session)",
        "client.custom_query('up')",
        "",
        {"status": "success", "data": {"result": [1]}},
        loop="408, 409, 429, 5xx",
    ),
    SDK(
        "pyTelegramBotAPI",
        "a setting of the module",
        "import telebot\ntelebot.apihelper.API_URL = url + '/bot{0}/{1}'\nvars(telebot.util.thread_local).clear()",
        "telebot.apihelper.session = requests.Session()\nclient = telebot.TeleBot('1:t')",
        "telebot.apihelper.session = polvo.install(requests.Session(), retry={'methods': []})\n"
        "client = telebot.TeleBot('1:t')",
        "client.get_me().first_name",
        "client.create_forum_topic(1, 'n').name",
        {
            "ok": True,
            "result": {
                "id": 7,
                "is_bot": True,
                "first_name": "polvo",
                "message_thread_id": 1,
                "name": "n",
                "icon_color": 1,
            },
        },
        setting="`methods`, as here: it writes by GET, so that only what was certainly not carried out is repeated",
    ),
    SDK(
        "influxdb",
        ATTRIBUTE,
        "import influxdb",
        "client = influxdb.InfluxDBClient('127.0.0.1', port)",
        "client = influxdb.InfluxDBClient('127.0.0.1', port)\npolvo.install(client._session)",
        "client.get_list_database()",
        "client.write_points([{'measurement': 'm', 'fields': {'a': 1.0}}], database='d')",
        {"results": [{"series": [{"name": "databases", "columns": ["name"], "values": [["d"]]}]}]},
        status=204,
        loop="no connection; writes too",
        setting="`retries=1` leaves retries to us, and writes are not repeated",
    ),
    SDK(
        "elastic-transport",
        ATTRIBUTE,
        "from elastic_transport import NodeConfig, Transport\nnodes = [NodeConfig('http', '127.0.0.1', port)]",
        "client = Transport(nodes, node_class='requests')",
        "client = Transport(nodes, node_class='requests')\n"
        "[polvo.install(node.session) for node in client.node_pool.all()]",
        "client.perform_request('GET', '/thing').meta.status",
        "client.perform_request('POST', '/thing', body={}, headers={'Content-Type': 'application/json'}).meta.status",
        THING,
        loop="429, 502 to 504, no connection; writes too",
    ),
    SDK(
        "azure-core",
        ARGUMENT,
        "from azure.core import PipelineClient\n"
        "from azure.core.pipeline.policies import RetryPolicy\n"
        "from azure.core.pipeline.transport import RequestsTransport\n"
        "from azure.core.rest import HttpRequest",
        "client = PipelineClient(url, transport=RequestsTransport(), policies=[RetryPolicy()])",
        "transport = RequestsTransport(session=polvo.install(requests.Session()), session_owner=False)\n"
        "client = PipelineClient(url, transport=transport, policies=[RetryPolicy()])",
        "client.send_request(HttpRequest('GET', url + '/thing')).status_code",
        "client.send_request(HttpRequest('POST', url + '/thing', json={})).status_code",
        THING,
        loop="408, 429, 5xx, no connection",
        setting="`retry_total=0` leaves retries to us",
    ),
    SDK(
        "keystoneauth1",
        ARGUMENT,
        "from keystoneauth1.noauth import NoAuth\nfrom keystoneauth1.session import Session",
        "client = Session(auth=NoAuth(endpoint=url))",
        "client = Session(auth=NoAuth(endpoint=url), session=polvo.install(requests.Session()))",
        "client.get(url + '/thing').json()['name']",
        "client.post(url + '/thing', json={}).json()['name']",
        THING,
    ),
    SDK(
        "linode-api4",
        ATTRIBUTE,
        "import linode_api4",
        "client = linode_api4.LinodeClient('t', base_url=url)",
        "client = linode_api4.LinodeClient('t', base_url=url)\npolvo.install(client.session)",
        "client.profile().username",
        "client.tag_create('polvo').label",
        {"username": "polvo"},
        {"label": "polvo"},
        loop="408, 429, 502; writes too",
    ),
    SDK(
        "python-digitalocean",
        DROP_IN,
        "import digitalocean",
        "digitalocean.baseapi.requests = requests\nclient = digitalocean.Manager(token='t', end_point=url + '/v2/')",
        "digitalocean.baseapi.requests = polvo_adapters.requests\n"
        "client = digitalocean.Manager(token='t', end_point=url + '/v2/')",
        "client.get_data('account')['account']['email']",
        "client.get_data('tags', 'POST', {'name': 'n'})['tag']",
        {"account": {"email": "a@example.com"}, "tag": {"name": "n"}},
    ),
    SDK(
        "pynetbox",
        ATTRIBUTE,
        "import pynetbox",
        "client = pynetbox.api(url, token='t')",
        "client = pynetbox.api(url, token='t')\npolvo.install(client.http_session)",
        "client.dcim.devices.get(7).name",
        "client.dcim.devices.create(name='n').name",
        THING,
        status=201,
    ),
    SDK(
        "mollie-api-python",
        ATTRIBUTE,
        "from mollie.api.client import Client\n"
        "client = Client()\nclient.api_endpoint = url\nclient.set_api_key('test_' + 'x' * 30)",
        "client.payments.get('tr_WDqYK6vllg')",
        "client.payments.get('tr_WDqYK6vllg')  # it makes its session now\npolvo.install(client._client)",
        "client.payments.get('tr_WDqYK6vllg').id",
        "client.payments.create({}, idempotency_key='k').id",
        {"resource": "payment", "id": "tr_WDqYK6vllg"},
        status=201,
        loop="no connection",
    ),
    SDK(
        "zeep",
        ARGUMENT,
        "from zeep.transports import Transport",
        "client = Transport()",
        "client = Transport(session=polvo.install(requests.Session()))",
        "client.load(url + '/wsdl')",
        "client.post(url + '/soap', b'<a/>', {}).status_code",
        b"<definitions/>",
    ),
    SDK(
        "internetarchive",
        IS_SESSION,
        "import internetarchive\n"
        "def get_session():\n"
        "    session = internetarchive.get_session({'s3': {'access': 'a', 'secret': 's'}})\n"
        "    session.protocol, session.host = 'http:', f'127.0.0.1:{port}'\n"
        "    session.mount_http_adapter(host='127.0.0.1')\n"
        "    return session",
        "client = get_session()",
        "client = polvo.install(get_session())",
        "client.get_metadata('nasa')['name']",
        "client.post(client.protocol + '//' + client.host + '/tasks').json()['name']",
        THING,
        loop="429, 5xx, no connection; writes too",
    ),
    SDK(
        "plexapi",
        ARGUMENT,
        "from plexapi.server import PlexServer",
        "client = PlexServer(url, 't', session=requests.Session())",
        "client = PlexServer(url, 't', session=polvo.install(requests.Session()))",
        "client.query('/identity').tag",
        "client.query('/playlists', method=client._session.post).tag",
        b"<MediaContainer friendlyName='polvo' machineIdentifier='m' version='1.0'/>",
    ),
    SDK(
        "ovh",
        ATTRIBUTE,
        "import ovh\novh.client.ENDPOINTS['stand-in'] = url",
        "client = ovh.Client('stand-in', 'key', 'secret', 'consumer')",
        "client = ovh.Client('stand-in', 'key', 'secret', 'consumer')\npolvo.install(client._session)",
        "client.get('/auth/time', _need_auth=False)",
        "client.post('/me', _need_auth=False, a='b')",
        THING,
    ),
    SDK(
        "hcloud",
        ATTRIBUTE,
        "import hcloud",
        "client = hcloud.Client('t', url)",
        "client = hcloud.Client('t', url)\npolvo.install(client._client._session)",
        "client.ssh_keys.get_by_id(7).data_model.name",
        "client.ssh_keys.create('polvo', 'ssh-rsa').data_model.name",
        {"ssh_key": {**THING, "fingerprint": "f", "public_key": "k", "labels": {}}},
        status=201,
        loop="502, 504, time-outs, some of its error codes; writes too",
    ),
    SDK(
        "datadog",
        "an attribute of a class",
        "import datadog\nfrom datadog.api.http_client import RequestClient\n"
        "datadog.initialize(api_key='k', app_key='a', api_host=url, mute=False)\nclient = datadog.api",
        "RequestClient._session = requests.Session()",
        "RequestClient._session = polvo.install(requests.Session())",
        "client.Monitor.get(7)['name']",
        "client.Monitor.create(type='metric alert', query='q')['name']",
        THING,
    ),
    SDK(
        "huggingface-hub",
        "a factory",
        "import huggingface_hub",
        "huggingface_hub.configure_http_backend(requests.Session)\nclient = huggingface_hub.HfApi(url, token='t')",
        "huggingface_hub.configure_http_backend(lambda: polvo.install(requests.Session()))\n"
        "client = huggingface_hub.HfApi(url, token='t')",
        "client.model_info('a/b').id",
        "client.create_repo('a/b').repo_id",
        {"id": "a/b", "url": "https://huggingface.co/a/b"},
    ),
    SDK(
        "python3-discogs-client",
        DROP_IN,
        "import discogs_client\ndiscogs_client.Client._base_url = url",
        "discogs_client.fetchers.request = requests.request\n"
        "client = discogs_client.Client('polvo/1.0', user_token='t')",
        "discogs_client.fetchers.request = polvo_adapters.requests.request\n"
        "client = discogs_client.Client('polvo/1.0', user_token='t')",
        "client.release(7).fetch('name')",
        "client._post(url + '/lists', {'a': 'b'})['name']",
        THING,
        loop="429; writes too",
    ),
    SDK(
        "python-redmine",
        ATTRIBUTE,
        "import redminelib",
        "client = redminelib.Redmine(url, key='k')",
        "client = redminelib.Redmine(url, key='k')\npolvo.install(client.engine.session)",
        "client.project.get(7).name",
        "client.project.create(name='polvo', identifier='polvo').name",
        {"project": THING},
        status=201,
    ),
    SDK(
        "tableauserverclient",
        "a factory",
        "import tableauserverclient",
        "client = tableauserverclient.Server(url)",
        "client = tableauserverclient.Server(url, session_factory=lambda: polvo.install(requests.Session()))",
        "client.server_info.get().product_version",
        "bool(client.auth.sign_in(tableauserverclient.TableauAuth('u', 'p')))",
        b'<tsResponse xmlns="http://tableau.com/api"><serverInfo><productVersion build="1">1</productVersion>'
        b"<restApiVersion>3.4</restApiVersion></serverInfo>"
        b'<credentials token="t"><site id="s" contentUrl=""/><user id="u"/></credentials></tsResponse>',
    ),
    SDK(
        "pysolr",
        ARGUMENT,
        "import pysolr",
        "client = pysolr.Solr(url + '/solr/core')",
        "client = pysolr.Solr(url + '/solr/core', session=polvo.install(requests.Session()))",
        "client.search('q').hits",
        "client.add([{'id': 'a'}])",
        {"response": {"numFound": 3, "docs": []}},
    ),
    SDK(
        "vultr",
        DROP_IN,
        "import vultr.utils\nvultr.utils.API_ENDPOINT = url",
        "vultr.utils.requests = requests\nclient = vultr.Vultr('k')",
        "vultr.utils.requests = polvo_adapters.requests\nclient = vultr.Vultr('k')",
        "client.account.info()['name']",
        "client.sshkey.create('n', 'k')['name']",
        THING,
    ),
    SDK(
        "boxsdk",
        ARGUMENT,
        "from box_sdk_gen import BaseUrls, BoxClient, BoxDeveloperTokenAuth, BoxNetworkClient, NetworkSession\n"
        "urls = {'base_urls': BaseUrls(base_url=url)}",
        "network = NetworkSession(network_client=BoxNetworkClient(requests.Session()), **urls)\n"
        "client = BoxClient(BoxDeveloperTokenAuth('t'), network_session=network)",
        "network = NetworkSession(network_client=BoxNetworkClient(polvo.install(requests.Session())), **urls)\n"
        "client = BoxClient(BoxDeveloperTokenAuth('t'), network_session=network)",
        "client.folders.get_folder_by_id('7').id",
        "client.web_links.create_web_link('https://example.com', {'id': '0'}).id",
        {"id": "7", "type": "folder"},
        {"id": "7", "type": "web_link"},
        201,
        loop="429, 5xx, no connection; writes too",
    ),
]
