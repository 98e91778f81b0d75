# Not built yet: written where no container daemon runs. test/test_deploy.py checks what it names.
# The remote host, or any command of the package without ROS:
#   docker build -t mt_perception .
#   docker run -p 8001:8001 mt_perception serve --host 0.0.0.0
# The nodes, on top of a ROS 2 image:
#   docker build -t mt_perception:ros --target ros --build-arg ROS_DISTRO=jazzy .
ARG ROS_DISTRO=jazzy

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps -w /wheels .

FROM python:3.12-slim AS runtime
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[offload,serve]" && rm -r /wheels \
    && useradd --create-home robot
USER robot
WORKDIR /home/robot
EXPOSE 8001
STOPSIGNAL SIGTERM
ENTRYPOINT ["mt_perception"]
CMD ["doctor"]

FROM ros:${ROS_DISTRO}-ros-base AS ros
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip ros-${ROS_DISTRO}-vision-msgs \
    && rm -rf /var/lib/apt/lists/*
COPY --from=wheel /wheels /wheels
# A robot image has one Python: the distribution's.
RUN PIP_BREAK_SYSTEM_PACKAGES=1 pip install --no-cache-dir "$(ls /wheels/*.whl)[offload]" && rm -r /wheels \
    && useradd --create-home robot
USER robot
WORKDIR /home/robot
ENV AMENT_PREFIX_PATH=/usr/local:/opt/ros/${ROS_DISTRO}
STOPSIGNAL SIGINT
ENTRYPOINT ["/ros_entrypoint.sh"]
CMD ["ros2", "launch", "mt_perception", "perception.launch.py"]

FROM runtime
