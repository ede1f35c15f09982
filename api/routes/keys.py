"""Keys of one's own project: make, see, revoke."""

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.deps import Admin, PageDep, ReadSession, ServicesDep
from api.idempotency import Made, OnceDep
from api.problems import MADE
from api.schemas.common import Deleted, Listing
from api.schemas.keys import Key, KeyCreate, NewKey
from service import clock, keys

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post("", status_code=201, response_model=NewKey, responses={201: MADE})
def create_key(body: KeyCreate, services: ServicesDep, caller: Admin, once: OnceDep) -> Response:
    """Makes a key of this project, with scopes that the caller has. Its `secret` is shown this once."""

    def work(session: Session) -> Made:
        made = keys.create(
            session, caller, name=body.name, scopes=body.scopes, expires_at=body.expires_at, now=clock.now()
        )
        kept = NewKey.with_secret(made.key, None)
        return Made(NewKey.with_secret(made.key, made.secret), 201, f"/v1/keys/{made.key.id}", kept=kept)

    answer = once.write(body, work)
    answer.headers["Cache-Control"] = "no-store"
    services.access.look_again()
    return answer


@router.get("")
def list_keys(session: ReadSession, caller: Admin, page: PageDep) -> Listing[Key]:
    """Newest first, without those that were revoked."""
    found = keys.list_(session, caller.project, page)
    return Listing[Key].of_page(found, [Key.of(row) for row in found.items])


@router.get("/{key_id}")
def get_key(session: ReadSession, caller: Admin, key_id: str) -> Key:
    """What it opens, until when, and when it was last used; never its secret."""
    return Key.of(keys.get(session, caller.project, key_id))


@router.delete("/{key_id}")
def revoke_key(key_id: str, services: ServicesDep, caller: Admin) -> Deleted:
    """From now on the key opens nothing."""
    services.database.write(lambda session: keys.revoke(session, caller, key_id, clock.now()))
    services.access.look_again()
    return Deleted(id=key_id)
